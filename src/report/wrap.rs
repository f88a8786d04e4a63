//! Word wrap.

/// Appends the words of `text` to `out`, each preceded by a space, and wraps lines at `width` columns.
///
/// `column` is the current column of `out`; continuation lines are indented by `indent`. A word longer than a line is not
/// broken, so that paths and names can be copied. ANSI styles count as zero columns.
pub(crate) fn wrap(out: &mut String, text: &str, mut column: usize, indent: usize, width: usize) {
    for word in text.split_whitespace() {
        let length = console::measure_text_width(word);
        if column + 1 + length > width && column > indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(lead: &str, text: &str, width: usize) -> String {
        let mut out = lead.to_owned();
        wrap(&mut out, text, lead.len(), 2, width);
        out
    }

    #[test]
    fn lines_are_filled_to_the_last_column_and_no_further() {
        assert_eq!(wrapped("error:", "no more of it", 14), "error: no more\n  of it");
        assert_eq!(wrapped("error:", "no more of it", 13), "error: no\n  more of it");
    }

    #[test]
    fn a_word_that_fits_no_line_is_left_whole() {
        let path = "/a/path/that/is/longer/than/the/line";
        assert_eq!(wrapped("see:", &format!("{path} it is"), 10), format!("see:\n  {path}\n  it is"));
    }

    #[test]
    fn styles_take_no_room() {
        assert_eq!(wrapped("a", "\u{1b}[1mbold\u{1b}[0m x", 8), "a \u{1b}[1mbold\u{1b}[0m x");
    }
}
