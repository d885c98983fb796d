//! What one call asked, was told and therefore depends on.
use crate::{
    dependence::Dependence,
    evidence::{Fingerprint, Key},
    questions::{Answer, Circumstances, Question},
};
use serde::Serialize;

/// Questions of one decision that are kept; decisions that ask more are not reused.
const MAX_QUESTIONS: usize = 64;
/// Bytes of names in the questions of one decision that are kept.
const MAX_QUESTION_BYTES: usize = 4 << 10;

/// Why a decision must not be reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unkept {
    /// It asked something whose answer cannot be found again, such as the time or chance.
    Unrepeatable(&'static str),
    /// It asked more than is kept.
    TooMuch,
}

/// A question and its answer as text, for someone to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// As the contract writes a call: `header("accept")`.
    pub question: String,
    pub answer: String,
}

/// Records one call.
#[derive(Debug)]
pub(crate) struct Recorder {
    key: Key,
    /// Each question once, in the order first asked. Asking again cannot tell a policy anything new.
    pub trace: Vec<(Question, Fingerprint)>,
    trace_bytes: usize,
    pub unkept: Option<Unkept>,
    pub dependence: Dependence,
    /// Names of facts that were asked for.
    pub facts: Vec<String>,
    /// Bytes that answers may still take.
    answers: usize,
    /// Only when someone wants to read it.
    pub transcript: Option<Vec<Exchange>>,
}

/// The answers of one call took more bytes than its limit.
#[derive(Debug, thiserror::Error)]
#[error("the answers to its questions are larger than its limit of bytes")]
pub(crate) struct TooManyAnswers;

impl Recorder {
    pub fn new(key: Key, answers: usize) -> Self {
        Self {
            key,
            trace: Vec::new(),
            trace_bytes: 0,
            unkept: None,
            dependence: Dependence::default(),
            facts: Vec::new(),
            answers,
            transcript: None,
        }
    }

    /// Whether questions and answers are kept as text.
    pub fn transcribe(&mut self, transcript: bool) {
        self.transcript = transcript.then(Vec::new);
    }

    /// Answers a question and takes note of it.
    pub fn ask<'a>(
        &mut self,
        circumstances: &'a Circumstances,
        question: Question,
    ) -> Result<Answer<'a>, TooManyAnswers> {
        let answer = circumstances.answer(&question);
        self.spend(answer.size())?;
        if let Some(transcript) = &mut self.transcript {
            transcript.push(Exchange {
                question: question.to_string(),
                answer: answer.to_string(),
            });
        }
        if self.trace.iter().any(|(asked, _)| *asked == question) {
            return Ok(answer);
        }
        self.dependence.on(&question, &answer);
        if let Question::Fact(name) = &question
            && !self.facts.contains(name)
        {
            self.facts.push(name.clone());
        }
        self.trace_bytes += question.text_length();
        if self.trace.len() == MAX_QUESTIONS || self.trace_bytes > MAX_QUESTION_BYTES {
            self.unkept.get_or_insert(Unkept::TooMuch);
        } else {
            let fingerprint = self.key.fingerprint(&answer);
            self.trace.push((question, fingerprint));
        }
        Ok(answer)
    }

    /// Takes note of an answer that cannot be found again.
    pub fn unrepeatable(&mut self, what: &'static str) {
        if let Some(transcript) = &mut self.transcript {
            transcript.push(Exchange {
                question: what.into(),
                answer: "not to be repeated".into(),
            });
        }
        self.unkept = Some(Unkept::Unrepeatable(what));
        self.dependence.private = true;
    }

    /// Takes bytes from what answers may hand to the guest.
    pub fn spend(&mut self, bytes: usize) -> Result<(), TooManyAnswers> {
        self.answers = self.answers.checked_sub(bytes).ok_or(TooManyAnswers)?;
        Ok(())
    }
}
