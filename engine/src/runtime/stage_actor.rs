//! The actix actor that runs a cell.
//!
//! One handler at a time, and nothing to be lost with it: everything that matters is in the cell. When the run ends the
//! actor gives the cell to its supervisor and stops.

use std::panic::AssertUnwindSafe;

use actix::{Actor, ActorContext, AsyncContext, Context, Message, Recipient, WrapFuture, fut::ActorFutureExt};
use futures_util::FutureExt;

use super::cell::{Cell, ExitReason};
use super::host::panic_message;

/// The number of a child.
pub(super) type ChildId = u64;

/// A child's actor has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Exited {
    pub(super) child: ChildId,
    pub(super) reason: ExitReason,
    pub(super) cell: Box<dyn Cell>,
}

pub(super) struct StageActor {
    child: ChildId,
    cell: Option<Box<dyn Cell>>,
    supervisor: Recipient<Exited>,
}

impl StageActor {
    pub(super) fn new(child: ChildId, cell: Box<dyn Cell>, supervisor: Recipient<Exited>) -> Self {
        StageActor { child, cell: Some(cell), supervisor }
    }
}

impl Actor for StageActor {
    type Context = Context<Self>;

    fn started(&mut self, cx: &mut Self::Context) {
        let Some(mut cell) = self.cell.take() else { return };
        let (child, supervisor) = (self.child, self.supervisor.clone());
        let life = async move {
            // Unwind safety: the component dies with the run; the cell is written so that what it holds is whole at
            // every point where a component is called.
            let reason = match AssertUnwindSafe(cell.run()).catch_unwind().await {
                Ok(reason) => reason,
                Err(panic) => ExitReason::Panicked(panic_message(panic.as_ref())),
            };
            // A supervisor that is gone has dropped the deployment; the cell's guards then resolve as not delivered.
            let _ = supervisor.send(Exited { child, reason, cell }).await;
        };
        cx.spawn(life.into_actor(self).map(|(), _, cx: &mut Context<Self>| cx.stop()));
    }
}
