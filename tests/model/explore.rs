//! Breadth-first exploration with every state kept once; a violation is reported by a shortest path to it.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use crate::machine::{Bug, Scenario, State, Step};

/// What an exploration found.
pub(crate) enum Report {
    /// Every reachable state is fine and can still reach an end.
    Holds {
        /// States seen.
        states: usize,
        /// Steps between them.
        steps: usize,
        /// States in which everything has ended.
        ends: usize,
    },
    /// An invariant does not hold.
    Violated {
        /// Its number in proof.md.
        invariant: u8,
        /// What was seen.
        text: String,
        /// A shortest way there.
        path: Vec<Step>,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds {
                states,
                steps,
                ends,
            } => {
                write!(
                    f,
                    "{states} states, {steps} steps, {ends} ends, all invariants hold"
                )
            }
            Self::Violated {
                invariant,
                text,
                path,
            } => {
                write!(
                    f,
                    "invariant {invariant}: {text}\n  after {} steps:",
                    path.len()
                )?;
                path.iter().try_for_each(|step| write!(f, "\n    {step:?}"))
            }
        }
    }
}

/// Explores everything reachable. The first violation ends it.
pub(crate) fn explore(scenario: &Scenario, bug: Bug) -> Report {
    let mut graph = Graph::default();
    graph.add(State::new(scenario), None);
    let mut next = 0;
    let mut found = Vec::new();
    while next < graph.states.len() {
        let state = graph.states[next].clone();
        state.steps(scenario, bug, &mut found);
        for (step, after) in found.drain(..) {
            if let Some((invariant, text)) = after.violation(scenario) {
                let mut path = graph.path(next);
                path.push(step);
                return Report::Violated {
                    invariant,
                    text,
                    path,
                };
            }
            let target = graph.add(after, Some((next as u32, step)));
            graph.edges.push((next as u32, target, step.is_fault()));
        }
        next += 1;
    }
    graph.judge_liveness(scenario)
}

#[derive(Default)]
struct Graph {
    index: HashMap<State, u32, BuildHasherDefault<Mix>>,
    states: Vec<State>,
    parents: Vec<Option<(u32, Step)>>,
    edges: Vec<(u32, u32, bool)>,
}

impl Graph {
    fn add(&mut self, state: State, parent: Option<(u32, Step)>) -> u32 {
        if let Some(known) = self.index.get(&state) {
            return *known;
        }
        let id = u32::try_from(self.states.len()).expect("fewer than 2^32 states");
        self.index.insert(state.clone(), id);
        self.states.push(state);
        self.parents.push(parent);
        id
    }

    fn path(&self, mut at: usize) -> Vec<Step> {
        let mut path = Vec::new();
        while let Some((parent, step)) = self.parents[at] {
            path.push(step);
            at = parent as usize;
        }
        path.reverse();
        path
    }

    /// From every state, the steps that are no faults must lead to an end: walks backwards from the ends.
    fn judge_liveness(self, scenario: &Scenario) -> Report {
        let mut before = vec![Vec::new(); self.states.len()];
        for (from, to, fault) in &self.edges {
            if !fault {
                before[*to as usize].push(*from);
            }
        }
        let mut reaches = vec![false; self.states.len()];
        let mut work: Vec<u32> = (0..self.states.len() as u32)
            .filter(|id| self.states[*id as usize].is_end(scenario))
            .collect();
        let ends = work.len();
        work.iter().for_each(|id| reaches[*id as usize] = true);
        while let Some(at) = work.pop() {
            for from in &before[at as usize] {
                if !std::mem::replace(&mut reaches[*from as usize], true) {
                    work.push(*from);
                }
            }
        }
        let stuck = |id: &usize| !reaches[*id];
        let undone = |id: &usize| stuck(id) && self.states[*id].is_undone();
        let ids = 0..self.states.len();
        // A decision that is never carried out is invariant 20; one that is never made is 7.
        let found = ids.clone().find(undone).map(|id| (20, id));
        match found.or_else(|| ids.clone().find(stuck).map(|id| (7, id))) {
            None => Report::Holds {
                states: self.states.len(),
                steps: self.edges.len(),
                ends,
            },
            Some((invariant, id)) => Report::Violated {
                invariant,
                text: "no end can be reached from here without another fault".to_owned(),
                path: self.path(id),
            },
        }
    }
}

/// A fast hash for small states; the exploration trusts no input.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}
