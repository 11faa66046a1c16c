//! Topics are created as declared, checked where they exist, and known by their ids.
