//! Operands: literals, names, calls, lists, and what is selected from them.
//!
//! The part of the parser below its operators.

use super::ast::{Call, Expr, ExprKind, Literal};
use super::error::{ExprError, Span};
use super::parse::{EXAMPLE, Node, Parser, int, node};
use super::token::{Spanned, Token};

impl Parser {
    /// The number that a minus at `start` is a part of, with its end: the lowest int has no positive counterpart.
    pub(super) fn negative(&self, start: usize) -> Result<Option<(Literal, usize)>, ExprError> {
        let end = self.span().end;
        Ok(match self.peek() {
            Token::Int(value) => {
                let value = 0_i64.checked_sub_unsigned(*value).ok_or(());
                Some((Literal::Int(int(value, &(start..end))?), end))
            }
            Token::Double(value) => Some((Literal::Double(-value), end)),
            _ => None,
        })
    }

    /// An operand with the selections, indexes and method calls behind it.
    pub(super) fn member(&mut self) -> Result<Node, ExprError> {
        let operand = self.primary()?;
        self.behind(operand)
    }

    pub(super) fn behind(&mut self, mut operand: Node) -> Result<Node, ExprError> {
        loop {
            let start = operand.expr.span.start;
            if self.eat(&Token::Dot) {
                let (name, name_span) = self.field()?;
                if self.eat(&Token::LParen) {
                    let (args, end, height) = self.list(&Token::RParen)?;
                    let height = height.max(operand.height);
                    let kind = ExprKind::Call(Call {
                        target: Some(Box::new(operand.expr)),
                        name,
                        name_span,
                        args,
                    });
                    operand = node(kind, start..end, height)?;
                } else {
                    let kind = ExprKind::Select {
                        operand: Box::new(operand.expr),
                        field: name,
                    };
                    operand = node(kind, start..name_span.end, operand.height)?;
                }
            } else if self.eat(&Token::LBracket) {
                let index = self.expr()?;
                let end = self.expect(&Token::RBracket)?.end;
                let height = operand.height.max(index.height);
                let kind = ExprKind::Index {
                    operand: Box::new(operand.expr),
                    index: Box::new(index.expr),
                };
                operand = node(kind, start..end, height)?;
            } else {
                return Ok(operand);
            }
        }
    }

    /// The name behind a dot.
    fn field(&mut self) -> Result<(String, Span), ExprError> {
        let hint = match self.peek() {
            Token::Ident(name) => {
                let name = name.clone();
                return Ok((name, self.next().span));
            }
            Token::Int(index) => format!("list items are written `[{index}]`"),
            Token::True | Token::False | Token::Null | Token::In => format!(
                "the word is reserved: write `[\"{}\"]`",
                self.peek().describe().trim_matches('`')
            ),
            _ => "other names are written in brackets: `payload[\"odd name\"]`".to_owned(),
        };
        Err(self.unexpected("a field name", &hint))
    }

    fn primary(&mut self) -> Result<Node, ExprError> {
        let Spanned { token, span } = self.tokens[self.at].clone();
        let literal = match token {
            Token::Ident(name) => {
                self.next();
                return self.name(name, span);
            }
            Token::LParen => {
                self.next();
                let mut inner = self.expr()?;
                let end = self.expect(&Token::RParen)?.end;
                inner.expr.span = span.start..end;
                return Ok(inner);
            }
            Token::LBracket => {
                self.next();
                let (items, end, height) = self.list(&Token::RBracket)?;
                return node(ExprKind::List(items), span.start..end, height);
            }
            Token::Int(value) => Literal::Int(int(i64::try_from(value), &span)?),
            Token::Uint(value) => Literal::Uint(value),
            Token::Double(value) => Literal::Double(value),
            Token::Duration(text) => Literal::Duration(text),
            Token::Str(text) => Literal::Str(text),
            Token::True => Literal::Bool(true),
            Token::False => Literal::Bool(false),
            Token::Null => Literal::Null,
            _ => return Err(self.unexpected("a value", EXAMPLE)),
        };
        self.next();
        node(ExprKind::Lit(literal), span, 0)
    }

    /// A name, or the call of a function of that name.
    fn name(&mut self, name: String, span: Span) -> Result<Node, ExprError> {
        if !self.eat(&Token::LParen) {
            return node(ExprKind::Ident(name), span, 0);
        }
        let (args, end, height) = self.list(&Token::RParen)?;
        let start = span.start;
        let kind = ExprKind::Call(Call {
            target: None,
            name,
            name_span: span,
            args,
        });
        node(kind, start..end, height)
    }

    /// Expressions up to `close`, separated by commas; a list, as in CEL, may end with one.
    fn list(&mut self, close: &Token) -> Result<(Vec<Expr>, usize, usize), ExprError> {
        let mut items = Vec::new();
        let mut height = 0;
        while self.peek() != close {
            let item = self.expr()?;
            height = height.max(item.height);
            items.push(item.expr);
            if !self.eat(&Token::Comma) {
                break;
            }
            if self.peek() == close && *close == Token::RParen {
                return Err(self.unexpected("a value", "remove the comma"));
            }
        }
        if self.peek() != close {
            let wanted = format!("`,` or {}", close.describe());
            return Err(self.unexpected(&wanted, "close the bracket that was opened"));
        }
        Ok((items, self.next().span.end, height))
    }
}
