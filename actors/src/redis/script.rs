//! Scripts: sent by hash, with arguments written straight into the command, and answers of one form.

use redis::{Cmd, Script, Value};

/// A command that runs `script`, sent as its hash, with room for `args` arguments of `bytes` bytes altogether. The
/// caller appends the arguments.
pub(crate) fn evalsha(script: &Script, keys: &[&str], args: usize, bytes: usize) -> Cmd {
    const FIXED: usize = 64;
    let key_bytes: usize = keys.iter().map(|key| key.len()).sum();
    let mut command = Cmd::with_capacity(3 + keys.len() + args, FIXED + key_bytes + bytes);
    command.arg("EVALSHA").arg(script.get_hash()).arg(keys.len());
    for key in keys {
        command.arg(key);
    }
    command
}

/// What a script says: a word, and what belongs to it. Every script here answers an array that begins with a word.
#[derive(Debug)]
pub(crate) struct Answer {
    word: String,
    rest: Vec<Value>,
}

impl Answer {
    /// Takes an answer apart; the value itself when it is none.
    pub(crate) fn new(value: Value) -> Result<Self, String> {
        let Value::Array(values) = value else {
            return Err(format!("a script answered {value:?}, which is no array"));
        };
        let mut values = values.into_iter();
        let word = match values.next() {
            Some(Value::BulkString(word)) => String::from_utf8_lossy(&word).into_owned(),
            other => return Err(format!("a script's answer begins with {other:?}, which is no word")),
        };
        Ok(Answer { word, rest: values.collect() })
    }

    /// The word.
    pub(crate) fn word(&self) -> &str {
        &self.word
    }

    /// What comes behind the word, as text; empty where there is none.
    pub(crate) fn text(&self, index: usize) -> String {
        match self.rest.get(index) {
            Some(Value::BulkString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Some(Value::SimpleString(text)) => text.clone(),
            Some(Value::Int(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    /// What comes behind the word, as a number; 0 where there is none.
    pub(crate) fn number(&self, index: usize) -> i64 {
        match self.rest.get(index) {
            Some(Value::Int(number)) => *number,
            _ => self.text(index).parse().unwrap_or(0),
        }
    }

    /// How many values come behind the word.
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }
}
