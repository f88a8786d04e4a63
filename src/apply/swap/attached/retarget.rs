//! Replaces one name in a definition that the server wrote.

/// Replaces the first `<word> <live>` outside quotes by `<word> <new>`. `None` if there is none. Names are as SQL.
///
/// In definitions of indexes, triggers, rules and foreign keys the table's name follows the first such word. Only names
/// precede it, no expressions.
pub(in crate::apply::swap) fn retarget(
    definition: &str,
    word: &str,
    live: &str,
    new: &str,
) -> Option<String> {
    let sought = format!("{word} {live}");
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in definition.char_indices() {
        match quote {
            Some(mark) if c == mark => quote = None,
            Some(_) => {}
            None if before.is_whitespace() && definition[at..].starts_with(&sought) => {
                let rest = &definition[at + sought.len()..];
                if !rest.starts_with(is_of_a_name) {
                    return Some(format!("{}{word} {new}{rest}", &definition[..at]));
                }
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            None => {}
        }
        before = c;
    }
    None
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || c == '.' || c == '"'
}

/// Returns a string constant as `pg_get_expr` writes it. With standard strings a backslash has no special meaning.
pub(in crate::apply::swap) fn literal_as_deparsed(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_name_is_exchanged_and_nothing_that_looks_like_it() {
        let cases = [
            (
                "CREATE INDEX i ON public.t USING btree (a)",
                "ON",
                "public.t",
                Some("CREATE INDEX i ON new.t USING btree (a)"),
            ),
            (
                "CREATE INDEX \" ON public.t \" ON public.t USING btree (a) WHERE (b = ' ON public.t '::text)",
                "ON",
                "public.t",
                Some(
                    "CREATE INDEX \" ON public.t \" ON new.t USING btree (a) WHERE (b = ' ON public.t '::text)",
                ),
            ),
            (
                "CREATE RULE r AS\n    ON INSERT TO public.t DO NOTHING;",
                "TO",
                "public.t",
                Some("CREATE RULE r AS\n    ON INSERT TO new.t DO NOTHING;"),
            ),
            (
                "FOREIGN KEY (a) REFERENCES public.\"T t\"(id)",
                "REFERENCES",
                "public.\"T t\"",
                Some("FOREIGN KEY (a) REFERENCES new.t(id)"),
            ),
            ("FOREIGN KEY (a) REFERENCES public.t2(id)", "REFERENCES", "public.t", None),
            ("CREATE INDEX i ON public.t$ USING btree (a)", "ON", "public.t", None),
        ];
        for (definition, word, live, expected) in cases {
            assert_eq!(retarget(definition, word, live, "new.t").as_deref(), expected, "{definition}");
        }
    }
}
