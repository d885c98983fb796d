//! What one call asked, was told and therefore depends on.
use crate::{
    dependence::Dependence,
    evidence::key::{Fingerprint, Key},
    questions::{Answer, Circumstances, Question},
    withheld::Withholding,
};
use serde::{Deserialize, Serialize};

/// Questions of one decision that are kept; decisions that ask more are not reused.
const MAX_QUESTIONS: usize = 64;
/// Bytes of names in the questions of one decision that are kept.
const MAX_QUESTION_BYTES: usize = 4 << 10;

/// Calls of the host in one decision: a hundred times what a policy needs that asks for every header field of a request.
const MAX_CALLS: u32 = 10_000;

/// Exchanges that a transcript holds, and characters of a question or an answer in it.
const MAX_TRANSCRIPT: usize = 1000;
const MAX_TEXT: usize = 500;

/// Stands for an answer that is withheld. Texts have quotes around them, so none can be mistaken for it.
const REDACTED: &str = "redacted";

/// Why a decision must not be reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unkept {
    /// It asked something whose answer cannot be found again, such as the time or chance.
    Unrepeatable(&'static str),
    /// It asked more than is kept.
    TooMuch,
}

/// A question and its answer as text, for someone to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// As the contract writes a call: `header("accept")`.
    pub question: String,
    pub answer: String,
}

impl Exchange {
    /// Without what a service was asked by: a key, or the query of an outbound request, may be made of what is not to be
    /// told.
    pub fn without_key(&self) -> Self {
        const CALLS: [&str; 6] = ["get(", "set(", "delete(", "exists(", "increment(", "take("];
        let question = match CALLS.iter().find(|call| self.question.starts_with(**call)) {
            Some(call) => format!("{call}…)"),
            // An outbound request is written as its method and URL; every other question has parentheses.
            None if !self.question.contains('(') => {
                let (before, _) = self.question.split_once('?').unwrap_or((&self.question, ""));
                before.to_owned()
            }
            None => self.question.clone(),
        };
        Self {
            question,
            answer: self.answer.clone(),
        }
    }
}

/// Records one call.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// `None`: nothing of the policy is kept.
    key: Option<Key>,
    /// Each question once, in the order first asked. Asking again cannot tell a policy anything new.
    pub trace: Vec<(Question, Fingerprint)>,
    trace_bytes: usize,
    pub unkept: Option<Unkept>,
    pub dependence: Dependence,
    /// Names of facts that were asked for.
    pub facts: Vec<String>,
    /// Bytes that answers may still take.
    answers: usize,
    /// Bytes that the answers of one decision may take.
    limit: usize,
    /// Calls of the host that there may still be.
    calls: u32,
    /// Only when someone wants to read it.
    pub transcript: Option<Vec<Exchange>>,
}

/// Why a question gets no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error(transparent)]
    TooMany(#[from] TooManyAnswers),
    /// The question, as the contract writes a call.
    #[error("it asks {0}, and the answer was not recorded")]
    NotRecorded(String),
}

/// One call asked for more than it may.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TooManyAnswers {
    #[error("the answers to its questions are larger than its limit of bytes")]
    Bytes,
    #[error("it called the host more than {MAX_CALLS} times for one decision")]
    Calls,
}

impl Recorder {
    /// In a box, because it changes hands at the beginning and at the end of every call.
    pub fn new(key: Option<Key>, answers: usize) -> Box<Self> {
        Box::new(Self {
            key,
            trace: Vec::new(),
            trace_bytes: 0,
            unkept: None,
            dependence: Dependence::default(),
            facts: Vec::new(),
            answers,
            limit: answers,
            calls: MAX_CALLS,
            transcript: None,
        })
    }

    /// A decision begins. What `configure` was told, if it ran in this call, does not count for it, because most decisions
    /// begin without. `transcript`: whether questions and answers are kept as text.
    pub fn begin(&mut self, transcript: bool) {
        self.answers = self.limit;
        self.calls = MAX_CALLS;
        self.transcript = transcript.then(Vec::new);
    }

    /// Forgets the call.
    pub fn clear(&mut self) {
        self.trace.clear();
        self.trace_bytes = 0;
        self.unkept = None;
        self.dependence = Dependence::default();
        self.facts.clear();
        self.begin(false);
    }

    /// Answers a question and takes note of it.
    pub fn ask<'a>(&mut self, circumstances: &'a Circumstances, question: Question) -> Result<Answer<'a>, Unanswered> {
        let shown = match &circumstances.withholding {
            Some(Withholding::FromPolicies(withheld)) if withheld.covers(&question) => {
                return Err(Unanswered::NotRecorded(question.to_string()));
            }
            Some(Withholding::FromTranscript(withheld)) => !withheld.covers(&question),
            _ => true,
        };
        let answer = circumstances.answer(&question);
        self.spend(answer.size())?;
        self.write(|| {
            let shown = if shown { answer.to_string() } else { REDACTED.into() };
            (question.to_string(), shown)
        });
        if self.trace.iter().any(|(asked, _)| *asked == question) {
            return Ok(answer);
        }
        self.dependence.on(&question, &answer);
        if let Question::Fact(name) = &question
            && !self.facts.contains(name)
        {
            self.facts.push(name.clone());
        }
        let Some(key) = &self.key else { return Ok(answer) };
        self.trace_bytes += question.text_length();
        if self.trace.len() == MAX_QUESTIONS || self.trace_bytes > MAX_QUESTION_BYTES {
            self.unkept.get_or_insert(Unkept::TooMuch);
        } else {
            let fingerprint = key.fingerprint(&answer);
            self.trace.push((question, fingerprint));
        }
        Ok(answer)
    }

    fn write(&mut self, exchange: impl FnOnce() -> (String, String)) {
        if let Some(transcript) = self
            .transcript
            .as_mut()
            .filter(|transcript| transcript.len() < MAX_TRANSCRIPT)
        {
            let (question, answer) = exchange();
            let [question, answer] = [question, answer].map(|text| text.chars().take(MAX_TEXT).collect());
            transcript.push(Exchange { question, answer });
        }
    }

    /// Takes note of an answer that cannot be found again.
    pub fn unrepeatable(&mut self, what: &'static str) {
        self.served(what, || (what.into(), "not to be repeated".into()));
    }

    /// As `unrepeatable`, with what was asked of a service and what it answered.
    pub fn served(&mut self, what: &'static str, exchange: impl FnOnce() -> (String, String)) {
        self.write(exchange);
        self.unkept = Some(Unkept::Unrepeatable(what));
        self.dependence.private = true;
    }

    /// Takes bytes from what answers may hand to the guest.
    pub fn spend(&mut self, bytes: usize) -> Result<(), TooManyAnswers> {
        self.count()?;
        self.answers = self.answers.checked_sub(bytes).ok_or(TooManyAnswers::Bytes)?;
        Ok(())
    }

    /// Counts a call of the host.
    pub fn count(&mut self) -> Result<(), TooManyAnswers> {
        self.calls = self.calls.checked_sub(1).ok_or(TooManyAnswers::Calls)?;
        Ok(())
    }
}
