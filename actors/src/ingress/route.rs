//! Which messages are taken, and of which kind they are.

use telemill_engine::record::Kind;

use crate::mqtt::TopicTemplate;

/// What one template says of the messages on its topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) template: TopicTemplate,
    pub(crate) kind: Kind,
    /// A body that is not JSON is unfit.
    pub(crate) needs_json: bool,
}
