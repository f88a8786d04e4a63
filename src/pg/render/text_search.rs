//! Renders text search documents and queries.

use std::io::Write as _;

use super::Malformed;
use super::fields::Fields;

/// Renders words with their positions: `'cat':3A,7 'rat'`.
pub(super) fn tsvector(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    for i in 0..fields.count()? {
        if i > 0 {
            out.push(b' ');
        }
        append_word(fields.c_string()?, out);
        for n in 0..fields.u16()? {
            // Two bits of weight, of which D is not shown, and fourteen bits of position.
            let position = fields.u16()?;
            let weight = ["", "C", "B", "A"][usize::from(position >> 14)];
            let before = if n == 0 { ':' } else { ',' };
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{before}{}{weight}", position & 0x3fff);
        }
    }
    fields.end()
}

fn append_word(word: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    for &byte in word {
        if matches!(byte, b'\'' | b'\\') {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(b'\'');
}

/// The kinds of items of a query (`QI_VAL`, src/include/tsearch/ts_type.h).
const ITEM_WORD: u8 = 1;
const ITEM_OPERATOR: u8 = 2;

/// Renders words and operators, `'fat' & ( 'cat' | 'rat' )`. They are sent in Polish notation, each operator's right operand
/// first. Read from back to front, operands come before their operator.
pub(super) fn tsquery(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    let mut items = Vec::new();
    for _ in 0..fields.count()? {
        items.push(Item::read(&mut fields)?);
    }
    fields.end()?;
    let mut operands: Vec<Operand> = Vec::new();
    for item in items.into_iter().rev() {
        let operand = match item {
            Item::Word { word, weights, is_prefix } => Operand::word(word, weights, is_prefix),
            Item::Operator(operator) => {
                let mut next = || operands.pop().ok_or(Malformed("an operator has no operand"));
                let first = next()?;
                match operator {
                    Operator::Not => Operand::negated(first),
                    // The left operand came first, and is below the right one.
                    _ => Operand::joined(operator, next()?, first),
                }
            }
        };
        operands.push(operand);
    }
    match (operands.pop(), operands.is_empty()) {
        (None, _) => Ok(()),
        (Some(whole), true) => {
            out.extend_from_slice(&whole.text);
            Ok(())
        }
        _ => Err(Malformed("a word has no operator")),
    }
}

enum Item<'a> {
    Word { word: &'a [u8], weights: u8, is_prefix: bool },
    Operator(Operator),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Not,
    And,
    Or,
    /// FOLLOWED BY, at a distance.
    Phrase(i16),
}

impl<'a> Item<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        match fields.u8()? {
            ITEM_WORD => {
                let (weights, is_prefix) = (fields.u8()?, fields.u8()? != 0);
                Ok(Self::Word { word: fields.c_string()?, weights, is_prefix })
            }
            ITEM_OPERATOR => Ok(Self::Operator(match fields.u8()? {
                1 => Operator::Not,
                2 => Operator::And,
                3 => Operator::Or,
                4 => Operator::Phrase(fields.i16()?),
                _ => return Err(Malformed("an operator is unknown")),
            })),
            _ => Err(Malformed("the kind of an item is unknown")),
        }
    }
}

impl Operator {
    /// Returns the precedence.
    fn strength(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Phrase(_) => 3,
            Self::Not => 4,
        }
    }
}

/// A part of a query as text.
struct Operand {
    text: Vec<u8>,
    /// Its outermost operator.
    operator: Option<Operator>,
}

impl Operand {
    fn word(word: &[u8], weights: u8, is_prefix: bool) -> Self {
        let mut text = Vec::with_capacity(word.len() + 4);
        append_word(word, &mut text);
        if weights != 0 || is_prefix {
            text.push(b':');
        }
        if is_prefix {
            text.push(b'*');
        }
        let letters = [(8, b'A'), (4, b'B'), (2, b'C'), (1, b'D')];
        text.extend(letters.iter().filter(|(bit, _)| weights & bit != 0).map(|&(_, letter)| letter));
        Self { text, operator: None }
    }

    fn negated(operand: Self) -> Self {
        let inner = operand.within(Operator::Not, false);
        let mut text = Vec::with_capacity(inner.len() + 1);
        text.push(b'!');
        text.extend_from_slice(&inner);
        Self { text, operator: Some(Operator::Not) }
    }

    fn joined(operator: Operator, left: Self, right: Self) -> Self {
        let mut text = left.within(operator, false);
        match operator {
            Operator::Or => text.extend_from_slice(b" | "),
            Operator::Phrase(1) => text.extend_from_slice(b" <-> "),
            Operator::Phrase(distance) => drop(write!(text, " <{distance}> ")),
            _ => text.extend_from_slice(b" & "),
        }
        text.extend_from_slice(&right.within(operator, true));
        Self { text, operator: Some(operator) }
    }

    /// Returns its text as an operand of `outer`, in parentheses where necessary: if its precedence is lower, or if it is a
    /// phrase on the right side of another, where the order matters.
    fn within(self, outer: Operator, is_right: bool) -> Vec<u8> {
        let Some(inner) = self.operator else { return self.text };
        let is_phrase = |operator| matches!(operator, Operator::Phrase(_));
        let is_phrase_in_phrase = is_right && is_phrase(outer) && is_phrase(inner);
        if inner.strength() >= outer.strength() && !is_phrase_in_phrase {
            return self.text;
        }
        [b"( ", &self.text[..], b" )"].concat()
    }
}
