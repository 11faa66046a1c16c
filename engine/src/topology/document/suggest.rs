//! What a misspelt word was probably meant to be.

/// The candidate that `word` is most likely a misspelling of; `None` when none is close.
///
/// Close means few edits for its length: insert, delete, replace or swap neighbours; case and `-` for `_` are free.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody misspells a word of this length, and the comparison is quadratic.
    const LONGEST: usize = 64;
    let word = folded(word);
    if word.len() > LONGEST {
        return None;
    }
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let folded = folded(candidate);
            let allowed = (word.len().max(folded.len()) / 3).max(1);
            if folded.len() > LONGEST || word.len().abs_diff(folded.len()) > allowed {
                return None;
            }
            let edits = distance(&word, &folded);
            // One edit makes any one-letter word of any other: that is no likeness.
            (edits <= allowed && edits < word.len().min(folded.len())).then_some((edits, candidate))
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

fn folded(word: &str) -> Vec<char> {
    word.chars().flat_map(char::to_lowercase).map(|c| if c == '-' { '_' } else { c }).collect()
}

/// Optimal string alignment: edits that turn one word into the other, no letter touched twice.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before_last = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1; to.len() + 1];
        for (j, b) in to.iter().enumerate() {
            let replaced = last[j] + usize::from(a != b);
            row[j + 1] = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                row[j + 1] = row[j + 1].min(before_last[j - 1] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_words_are_suggested_and_others_are_not() {
        const FIELDS: &[&str] = &["connection", "topics", "group", "offline_after", "max_sessions", "url"];
        for (word, expected) in [
            ("conection", Some("connection")),
            ("conneciton", Some("connection")),
            ("offline-after", Some("offline_after")),
            ("maxSessions", Some("max_sessions")),
            ("topic", Some("topics")),
            ("grp", None),
            ("ulr", Some("url")),
            ("retries", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(suggest(word, FIELDS.iter().copied()), expected, "{word:?}");
        }
        assert_eq!(suggest(&"a".repeat(100_000), FIELDS.iter().copied()), None);
    }
}
