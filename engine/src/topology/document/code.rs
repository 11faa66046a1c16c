//! The stable codes of the problems that the document layer finds, each with what `telemill explain` says about it.

/// The codes by name.
pub mod codes {
    /// The text is not YAML.
    pub const SYNTAX: &str = "topology::syntax";
    /// YAML that a topology file does not use: tags, merge keys, keys that are not scalars, unknown aliases.
    pub const UNSUPPORTED_YAML: &str = "topology::unsupported_yaml";
    /// A key given twice in one mapping.
    pub const DUPLICATE_KEY: &str = "topology::duplicate_key";
    /// A second document in the file.
    pub const SECOND_DOCUMENT: &str = "topology::second_document";
    /// Larger, deeper or more than a topology file may be.
    pub const LIMIT: &str = "topology::limit";
    /// A variable that is not set and has no default.
    pub const UNSET_VARIABLE: &str = "topology::unset_variable";
    /// A `${…}` that cannot be read.
    pub const BAD_SUBSTITUTION: &str = "topology::bad_substitution";
    /// A field that the mapping does not have.
    pub const UNKNOWN_FIELD: &str = "topology::unknown_field";
    /// A field that the mapping must have.
    pub const MISSING_FIELD: &str = "topology::missing_field";
    /// A value of the wrong type.
    pub const WRONG_TYPE: &str = "topology::wrong_type";
    /// A word that is not one of those allowed, such as a kind that does not exist.
    pub const UNKNOWN_VARIANT: &str = "topology::unknown_variant";
    /// A value of the right type that is not allowed.
    pub const INVALID_VALUE: &str = "topology::invalid_value";
}

/// Every code of this layer with its explanation.
pub const CODES: &[(&str, &str)] = &[
    (
        codes::SYNTAX,
        "The text is not valid YAML, so nothing behind the place shown was read.\n\n\
         Common causes: a tab in the indentation (YAML takes spaces only); a value that contains `: ` or ` #`, or starts \
         with one of `@ ` * & ! % { [ > |`, without quotes; `${NAME}` without quotes inside `{ }` or `[ ]`; a quote or \
         bracket that is not closed.",
    ),
    (
        codes::UNSUPPORTED_YAML,
        "Topology files use mappings, lists, scalars, anchors and aliases. They do not use tags (`!name`, `!!str`), \
         merge keys (`<<`) or keys that are themselves mappings or lists.\n\n\
         A value that starts with `*` is an alias: an anchor (`&name`) with that name must come before it. If the `*` is \
         meant literally, quote the value.",
    ),
    (
        codes::DUPLICATE_KEY,
        "A key is given twice in one mapping. YAML forbids it, because only one of the two values could take effect. \
         Remove one, or give it the name that was meant.",
    ),
    (
        codes::SECOND_DOCUMENT,
        "The file has a second YAML document behind `---`. A topology file is one document; put the other one into a \
         file of its own.",
    ),
    (
        codes::LIMIT,
        "The file is larger, deeper or has more values than a topology file may have: 4 MiB of text, 64 levels, 100,000 \
         values with aliases followed, 4 MiB put in by aliases and as much by the environment. The limits keep a \
         hostile file from taking all memory.",
    ),
    (
        codes::UNSET_VARIABLE,
        "`${NAME}` in a string value stands for the environment variable NAME, and that is not set. Set it, or give a \
         default that is used when it is not set or empty: `${NAME:-default}`.",
    ),
    (
        codes::BAD_SUBSTITUTION,
        "`${` starts a reference to an environment variable and must go on with a name (letters, digits and `_`, not \
         starting with a digit), then `}` or `:-default}`. A default cannot contain another `${…}`. To write `${` \
         literally, write `$${`.",
    ),
    (
        codes::UNKNOWN_FIELD,
        "The mapping has no field of this name. Unknown fields are errors, so that a misspelt setting cannot silently \
         leave its default in place. `telemill schema` prints all fields.",
    ),
    (
        codes::MISSING_FIELD,
        "The mapping must have this field: it has no default. `telemill schema` prints which fields are required.",
    ),
    (
        codes::WRONG_TYPE,
        "The value has another type than the field takes. YAML reads an unquoted `5` as a number and an unquoted `true` \
         as a boolean; where a string is expected, quote it. Values from the environment are always strings.",
    ),
    (
        codes::UNKNOWN_VARIANT,
        "The word is not one of those allowed here: a kind that does not exist, or a choice that is not offered.",
    ),
    (
        codes::INVALID_VALUE,
        "The value has the right type, but is not one that the field takes: out of range, or text that cannot be read, \
         such as a duration without a unit.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_explanation() {
        for (code, text) in CODES {
            assert!(code.starts_with("topology::") && text.len() > 60, "{code}");
            assert_eq!(CODES.iter().filter(|(other, _)| other == code).count(), 1, "{code}");
        }
        assert_eq!(CODES.len(), 12);
    }
}
