//! The static types, and which of them go together.
//!
//! What a message holds is only known when it arrives, so its fields are [`Type::Dyn`] and pass every check. JSON does
//! not tell 80 from 80.0; ints and doubles therefore mix freely, which CEL forbids.

/// What is known of a value before there is a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// The literal `null`.
    Null,
    /// True or false.
    Bool,
    /// A 64-bit integer.
    Int,
    /// A 64-bit floating point number.
    Double,
    /// An int or a double, depending on the message.
    Number,
    /// Text.
    String,
    /// Depends on the message.
    Dyn,
}

impl Type {
    /// The type with its article, for messages.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a bool",
            Self::Int => "an int",
            Self::Double => "a double",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Dyn => "a field of the message",
        }
    }

    pub(super) fn is_numeric(self) -> bool {
        matches!(self, Self::Int | Self::Double | Self::Number)
    }

    pub(super) fn may_be_number(self) -> bool {
        self.is_numeric() || self == Self::Dyn
    }

    pub(super) fn may_be(self, wanted: Self) -> bool {
        self == wanted || self == Self::Dyn
    }

    /// Whether the two can be equal.
    pub(super) fn comparable(self, other: Self) -> bool {
        self == other
            || self == Self::Dyn
            || other == Self::Dyn
            || (self.is_numeric() && other.is_numeric())
    }

    /// Whether the two have an order: numbers and strings do.
    pub(super) fn ordered(self, other: Self) -> bool {
        let has_order = |kind: Self| kind.may_be_number() || kind == Self::String;
        has_order(self) && has_order(other) && self.comparable(other)
    }

    /// The type of a value that is one or the other.
    pub(super) fn join(self, other: Self) -> Option<Self> {
        if self == other {
            Some(self)
        } else if self == Self::Dyn || other == Self::Dyn {
            Some(Self::Dyn)
        } else if self.is_numeric() && other.is_numeric() {
            Some(Self::Number)
        } else {
            None
        }
    }

    /// The type of a sum, difference or product of numbers.
    pub(super) fn arithmetic(self, other: Self) -> Self {
        match (self, other) {
            (Self::Int, Self::Int) => Self::Int,
            (Self::Double, _) | (_, Self::Double) => Self::Double,
            _ => Self::Number,
        }
    }
}
