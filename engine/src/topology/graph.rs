//! A plan as a picture, in the languages of Mermaid and Graphviz.

use std::fmt::Write;

use crate::registry::Role;
use crate::runtime::DEAD_LETTERS;

use super::plan::Plan;

/// A node of the picture.
struct Shape {
    name: String,
    kind: &'static str,
    role: Role,
}

/// What the picture shows: nodes, and edges between them with the outlet's name.
fn shapes(plan: &Plan) -> (Vec<Shape>, Vec<(usize, usize, String)>) {
    let shape = |s: &super::PlannedStage| Shape { name: s.name.to_string(), kind: s.kind, role: s.role() };
    let mut nodes: Vec<Shape> = plan.stages.iter().map(shape).collect();
    let mut edges = Vec::new();
    for (to, stage) in plan.stages.iter().enumerate() {
        for (from, outlet) in &stage.inputs {
            let outlet = plan.stages[*from].outlets.get(usize::from(outlet.0)).copied().unwrap_or_default();
            edges.push((*from, to, outlet.to_owned()));
        }
    }
    for (from, stage) in plan.stages.iter().enumerate() {
        for companion in &stage.description.companions {
            let outlet = stage.outlets.get(usize::from(companion.outlet.0)).copied().unwrap_or_default();
            edges.push((from, nodes.len(), outlet.to_owned()));
            let name = format!("{}.{}", stage.name, companion.name);
            nodes.push(Shape { name, kind: companion.kind, role: Role::Sink });
        }
    }
    nodes.push(Shape { name: DEAD_LETTERS.to_owned(), kind: plan.dead_letters.kind, role: Role::Sink });
    (nodes, edges)
}

/// The plan as a Mermaid flow chart.
pub fn mermaid(plan: &Plan) -> String {
    let (nodes, edges) = shapes(plan);
    let mut out = String::from("flowchart LR\n");
    for (index, node) in nodes.iter().enumerate() {
        let (open, close) = match node.role {
            Role::Source => ("([", "])"),
            Role::Processor => ("[", "]"),
            Role::Keyed => ("{{", "}}"),
            Role::Sink => ("[(", ")]"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "  n{index}{open}\"{}<br/><small>{}</small>\"{close}", node.name, node.kind);
    }
    for (from, to, outlet) in edges {
        let _ = match outlet.as_str() {
            "" => writeln!(out, "  n{from} --> n{to}"),
            outlet => writeln!(out, "  n{from} -- {outlet} --> n{to}"),
        };
    }
    out
}

/// The plan as a Graphviz graph.
pub fn dot(plan: &Plan) -> String {
    let (nodes, edges) = shapes(plan);
    let mut out = format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [shape=box];\n", plan.name);
    for (index, node) in nodes.iter().enumerate() {
        let shape = match node.role {
            Role::Source => "cds",
            Role::Processor => "box",
            Role::Keyed => "hexagon",
            Role::Sink => "cylinder",
        };
        let _ = writeln!(out, "  n{index} [label=\"{}\\n{}\", shape={shape}];", node.name, node.kind);
    }
    for (from, to, outlet) in edges {
        let _ = match outlet.as_str() {
            "" => writeln!(out, "  n{from} -> n{to};"),
            outlet => writeln!(out, "  n{from} -> n{to} [label=\"{outlet}\"];"),
        };
    }
    out.push_str("}\n");
    out
}
