//! Words to tree: a precedence climber over CEL's grammar.
//!
//! Never overflows the stack, whatever the text: nesting is limited while parsing, and the height of the tree, which
//! chains of operators make too, bounds every later walk over it.

use super::ast::{BinaryOp, Expr, ExprKind, UnaryOp, level};
use super::error::{ExprError, Span, codes};
use super::token::{Spanned, Token};
use super::{MAX_CHAIN, MAX_DEPTH, MAX_TEXT, lexer};

/// The tree of `text`, or its first error.
pub(super) fn parse(text: &str) -> Result<Expr, ExprError> {
    if text.len() > MAX_TEXT {
        let start = text.floor_char_boundary(MAX_TEXT);
        return Err(ExprError::new(
            codes::TOO_LONG,
            start..text.len(),
            format!(
                "the expression has {} bytes, {MAX_TEXT} are allowed",
                text.len()
            ),
        )
        .hint("split the rule in two"));
    }
    let mut parser = Parser {
        tokens: lexer::tokens(text)?,
        at: 0,
        depth: 0,
    };
    if parser.tokens.len() == 1 {
        return Err(
            ExprError::new(codes::SYNTAX, 0..text.len(), "the expression is empty").hint(EXAMPLE),
        );
    }
    let tree = parser.expr()?;
    let hint = match parser.peek() {
        Token::End => return Ok(tree.expr),
        Token::RParen | Token::RBracket => "remove the closing bracket, or open it before",
        _ => EXAMPLE,
    };
    Err(parser.unexpected("an operator", hint))
}

/// What to write where nothing more precise can be said.
pub(super) const EXAMPLE: &str = "a condition is written like `payload.temperature > 80.0`";

pub(super) struct Parser {
    pub(super) tokens: Vec<Spanned>,
    pub(super) at: usize,
    depth: usize,
}

/// A tree with the number of levels in it.
pub(super) struct Node {
    pub(super) expr: Expr,
    pub(super) height: usize,
}

impl Parser {
    pub(super) fn peek(&self) -> &Token {
        &self.tokens[self.at].token
    }

    pub(super) fn span(&self) -> Span {
        self.tokens[self.at].span.clone()
    }

    /// Takes the next word; the end stays where it is, so that looking is always possible.
    pub(super) fn next(&mut self) -> Spanned {
        let next = self.tokens[self.at].clone();
        if next.token != Token::End {
            self.at += 1;
        }
        next
    }

    pub(super) fn eat(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        if found {
            self.next();
        }
        found
    }

    pub(super) fn expect(&mut self, token: &Token) -> Result<Span, ExprError> {
        if self.peek() == token {
            Ok(self.next().span)
        } else {
            let hint = match token {
                Token::Colon => "write both choices: `condition ? value : other`",
                _ => "close the bracket that was opened",
            };
            Err(self.unexpected(&token.describe(), hint))
        }
    }

    pub(super) fn unexpected(&self, wanted: &str, hint: &str) -> ExprError {
        let found = &self.tokens[self.at];
        let previous = self.at.checked_sub(1).map(|at| &self.tokens[at].token);
        let hint = habit(previous, &found.token).unwrap_or(hint);
        ExprError::new(
            codes::SYNTAX,
            found.span.clone(),
            format!("expected {wanted}, found {}", found.token.describe()),
        )
        .hint(hint)
    }

    /// Runs `parse` one level deeper.
    fn nested(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<Node, ExprError>,
    ) -> Result<Node, ExprError> {
        if self.depth == MAX_DEPTH {
            return Err(ExprError::new(
                codes::TOO_DEEP,
                self.span(),
                format!("the expression nests more than {MAX_DEPTH} levels"),
            )
            .hint("split the rule in two"));
        }
        self.depth += 1;
        let node = parse(self);
        self.depth -= 1;
        node
    }

    pub(super) fn expr(&mut self) -> Result<Node, ExprError> {
        self.nested(|parser| {
            let condition = parser.binary(level::OR)?;
            if !parser.eat(&Token::Question) {
                return Ok(condition);
            }
            let then = parser.binary(level::OR)?;
            parser.expect(&Token::Colon)?;
            let otherwise = parser.expr()?;
            let span = condition.expr.span.start..otherwise.expr.span.end;
            let height = condition.height.max(then.height).max(otherwise.height);
            node(
                ExprKind::Cond {
                    condition: Box::new(condition.expr),
                    then: Box::new(then.expr),
                    otherwise: Box::new(otherwise.expr),
                },
                span,
                height,
            )
        })
    }

    /// Operators of `min` and tighter.
    fn binary(&mut self, min: u8) -> Result<Node, ExprError> {
        let mut left = self.unary()?;
        while let Some(op) = binary_op(self.peek()) {
            if op.level() < min {
                break;
            }
            self.next();
            let right = self.binary(op.level() + 1)?;
            let span = left.expr.span.start..right.expr.span.end;
            left = node(
                ExprKind::Binary {
                    op,
                    left: Box::new(left.expr),
                    right: Box::new(right.expr),
                },
                span,
                left.height.max(right.height),
            )?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Node, ExprError> {
        let op = match self.peek() {
            Token::Not => UnaryOp::Not,
            Token::Minus => UnaryOp::Neg,
            _ => return self.member(),
        };
        let start = self.next().span.start;
        if op == UnaryOp::Neg
            && let Some((literal, end)) = self.negative(start)?
        {
            self.next();
            let number = node(ExprKind::Lit(literal), start..end, 0)?;
            return self.behind(number);
        }
        let operand = self.nested(Self::unary)?;
        let span = start..operand.expr.span.end;
        node(
            ExprKind::Unary {
                op,
                operand: Box::new(operand.expr),
            },
            span,
            operand.height,
        )
    }
}

/// A tree one level higher than the highest of its parts.
pub(super) fn node(kind: ExprKind, span: Span, below: usize) -> Result<Node, ExprError> {
    if below > MAX_CHAIN {
        return Err(ExprError::new(
            codes::TOO_DEEP,
            span,
            format!("more than {MAX_CHAIN} operators and selections build on each other"),
        )
        .hint("test for several values with `in [...]`, or split the rule in two"));
    }
    Ok(Node {
        expr: Expr { kind, span },
        height: below + 1,
    })
}

pub(super) fn int<E>(value: Result<i64, E>, span: &Span) -> Result<i64, ExprError> {
    value.map_err(|_| {
        ExprError::new(codes::SYNTAX, span.clone(), "the number is out of range")
            .hint("an int has 64 bits; write a larger number as a double, with `.0`")
    })
}

fn binary_op(token: &Token) -> Option<BinaryOp> {
    Some(match token {
        Token::Or => BinaryOp::Or,
        Token::And => BinaryOp::And,
        Token::Less => BinaryOp::Less,
        Token::LessEq => BinaryOp::LessEq,
        Token::Greater => BinaryOp::Greater,
        Token::GreaterEq => BinaryOp::GreaterEq,
        Token::Equal => BinaryOp::Equal,
        Token::NotEqual => BinaryOp::NotEqual,
        Token::In => BinaryOp::In,
        Token::Plus => BinaryOp::Add,
        Token::Minus => BinaryOp::Sub,
        Token::Star => BinaryOp::Mul,
        Token::Slash => BinaryOp::Div,
        Token::Percent => BinaryOp::Rem,
        _ => return None,
    })
}

/// What to write instead of the words and signs of other languages.
fn habit(previous: Option<&Token>, found: &Token) -> Option<&'static str> {
    let word = |token: Option<&Token>, wanted: &str| matches!(token, Some(Token::Ident(name)) if name.eq_ignore_ascii_case(wanted));
    let found = Some(found);
    if word(found, "and") {
        return Some("write `&&` for \"and\"");
    }
    if word(found, "or") {
        return Some("write `||` for \"or\"");
    }
    if word(previous, "not") {
        return Some("write `!` for \"not\"");
    }
    match (previous, found) {
        (Some(Token::Less), Some(Token::Greater)) => Some("write `!=` for \"not equal\""),
        (Some(Token::Percent), _) => {
            Some("`%` is the remainder of a division; write a percentage as a number")
        }
        _ => None,
    }
}
