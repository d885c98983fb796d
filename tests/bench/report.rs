//! What was measured: raw, as tables of medians, and as plots.
use crate::{peers, plot};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// One figure of one contestant in one round.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    pub workload: &'static str,
    /// What was varied, such as `1 KiB`; a table has a column for each.
    pub point: String,
    /// The same as a number, for a curve's axis.
    pub at: f64,
    pub contestant: String,
    pub round: usize,
    /// What is measured, such as `CPU per request`, and its unit.
    pub figure: &'static str,
    pub unit: &'static str,
    pub value: f64,
}

/// A peer that could not do what a point asks of it.
#[derive(Debug, Serialize)]
pub struct Failure {
    pub workload: &'static str,
    pub point: String,
    pub contestant: String,
    pub error: String,
}

/// A run: everything measured on one machine in one go.
pub struct Run {
    folder: PathBuf,
    machine: Machine,
    samples: Vec<Sample>,
    failures: Vec<Failure>,
}

/// Where and when.
#[derive(Serialize)]
struct Machine {
    /// Seconds since 1970.
    time: u64,
    date: String,
    kernel: String,
    processor: String,
    processors: usize,
    versions: Vec<(String, String)>,
}

/// Figures are told apart by workload and figure; a table shows one.
type Table<'a> = BTreeMap<(usize, &'a str), BTreeMap<(usize, &'a str), Vec<f64>>>;

/// How much a table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Everything,
    /// What the README shows of a run.
    Chosen,
}

/// Workloads and figures that the README shows: what the machine's other work and the client do to a figure least.
const CHOSEN: &[(&str, &str)] = &[
    ("small", "CPU per request"),
    ("policy", "CPU per request"),
    ("many", "CPU per request"),
    ("large", "CPU per GB"),
    ("large", "time for all to finish"),
    ("latency", "p99 at 500/s"),
    ("memory", "resident"),
    ("memory", "for each connection"),
    ("start", "from start to first byte"),
];

const BEGIN: &str = "<!-- bench: begin (cargo xtask bench --readme README.md) -->";
const END: &str = "<!-- bench: end -->";

impl Run {
    /// `names`: what was asked for, when it was not everything; it gets a folder of its own.
    pub fn begin(folder: &Path, names: &[String]) -> Result<Self, String> {
        let machine = Machine::look();
        let names = [std::slice::from_ref(&machine.date), names].concat();
        let folder = folder.join(names.join("-"));
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self {
            folder,
            machine,
            samples: Vec::new(),
            failures: Vec::new(),
        })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn add(&mut self, sample: Sample) {
        eprintln!(
            "  {} {:>10}  {:32} {:>12} {} {}",
            sample.round,
            sample.point,
            sample.contestant,
            number(sample.value),
            sample.unit,
            sample.figure
        );
        self.samples.push(sample);
    }

    pub fn fail(&mut self, failure: Failure) {
        let Failure {
            point,
            contestant,
            error,
            ..
        } = &failure;
        eprintln!("  {point}: {contestant} FAILED: {error}");
        self.failures.push(failure);
    }

    pub fn has_failed(&self, workload: &str, point: &str, contestant: &str) -> bool {
        self.failures
            .iter()
            .any(|failure| (failure.workload, &*failure.point, &*failure.contestant) == (workload, point, contestant))
    }

    /// Writes `samples.csv`, `run.json`, `table.md` and a plot for every figure with several points.
    pub fn write(&self) -> Result<(), String> {
        let put = |name: &str, text: &str| {
            let path = self.folder.join(name);
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        let mut csv = "workload,point,at,contestant,round,figure,unit,value\n".to_owned();
        for sample in &self.samples {
            let Sample {
                workload,
                point,
                at,
                contestant,
                round,
                figure,
                unit,
                value,
            } = sample;
            // Contestants' names are the only ones with commas in them.
            let _ = writeln!(
                csv,
                "{workload},{point},{at},\"{contestant}\",{round},{figure},{unit},{value}"
            );
        }
        put("samples.csv", &csv)?;
        let json = serde_json::json!({
            "machine": self.machine,
            "samples": self.samples,
            "failures": self.failures,
        });
        put("run.json", &format!("{json:#}\n"))?;
        put("table.md", &self.table(Shown::Everything))?;
        for (workload, figure, unit) in self.figures() {
            let curves = self.curves(workload, figure);
            if curves.iter().any(|(_, points)| is_line(points)) {
                let name = format!("{workload}-{}.svg", figure.replace([' ', '/'], "-"));
                let title = format!("{workload}: {figure}");
                put(&name, &plot::curves(&title, unit, &curves)?)?;
            }
        }
        Ok(())
    }

    /// Tables in Markdown: a row for each contestant, a column for each point; medians, and in parentheses the ratio to
    /// the first contestant.
    pub fn table(&self, shown: Shown) -> String {
        let Machine {
            date,
            kernel,
            processor,
            processors,
            versions,
            ..
        } = &self.machine;
        let mut text = format!("{date}, {processors} × {processor}, {kernel}; ");
        let versions: Vec<String> = versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        text.push_str(&versions.join(", "));
        text.push_str(".\n");
        let figures = self.figures().into_iter();
        for (workload, figure, unit) in
            figures.filter(|(workload, figure, _)| shown == Shown::Everything || CHOSEN.contains(&(*workload, *figure)))
        {
            let table = self.medians(workload, figure);
            let mut points: Vec<(usize, &str)> = Vec::new();
            for row in table.values() {
                for point in row.keys() {
                    if !points.contains(point) {
                        points.push(*point);
                    }
                }
            }
            points.sort_unstable();
            let heads: Vec<&str> = points.iter().map(|(_, point)| *point).collect();
            let _ = write!(
                text,
                "\n**{workload}: {figure}, {unit}**\n\n| | {} |\n|---|{}\n",
                heads.join(" | "),
                "---:|".repeat(heads.len())
            );
            let mut first: BTreeMap<&str, f64> = BTreeMap::new();
            for ((_, contestant), row) in &table {
                let cells: Vec<String> = points
                    .iter()
                    .map(|point| match row.get(point) {
                        None => String::new(),
                        Some(values) => {
                            let middle = median(values);
                            let base = *first.entry(point.1).or_insert(middle);
                            format!("{} ({:.2})", number(middle), middle / base)
                        }
                    })
                    .collect();
                let _ = writeln!(text, "| {contestant} | {} |", cells.join(" | "));
            }
        }
        for Failure {
            workload,
            point,
            contestant,
            error,
        } in &self.failures
        {
            let _ = writeln!(text, "\n{workload}, {point}: {contestant} failed ({error}).");
        }
        text
    }

    /// Workload, figure and unit, in the order in which they were first measured.
    fn figures(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        let mut all = Vec::new();
        for sample in &self.samples {
            let figure = (sample.workload, sample.figure, sample.unit);
            if !all.contains(&figure) {
                all.push(figure);
            }
        }
        all
    }

    /// Contestants and points in the order in which they were first measured.
    fn medians(&self, workload: &str, figure: &str) -> Table<'_> {
        let (mut contestants, mut points) = (Vec::new(), Vec::new());
        let mut table = Table::new();
        for sample in self
            .samples
            .iter()
            .filter(|s| s.workload == workload && s.figure == figure)
        {
            let row = (place(&mut contestants, &sample.contestant), sample.contestant.as_str());
            let column = (place(&mut points, &sample.point), sample.point.as_str());
            table
                .entry(row)
                .or_default()
                .entry(column)
                .or_default()
                .push(sample.value);
        }
        table
    }

    fn curves(&self, workload: &str, figure: &str) -> Vec<(String, Vec<(f64, f64)>)> {
        let at = |point: &str| {
            let sample = self.samples.iter().find(|s| s.workload == workload && s.point == point);
            sample.map_or(0.0, |sample| sample.at)
        };
        let table = self.medians(workload, figure);
        let curves = table.iter().map(|((_, contestant), row)| {
            let mut points: Vec<(f64, f64)> = row
                .iter()
                .map(|((_, point), values)| (at(point), median(values)))
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            ((*contestant).to_owned(), points)
        });
        curves.collect()
    }
}

/// The place of a name in a list, to which it is added when it is new.
fn place<'a>(names: &mut Vec<&'a str>, name: &'a str) -> usize {
    match names.iter().position(|known| *known == name) {
        Some(place) => place,
        None => {
            names.push(name);
            names.len() - 1
        }
    }
}

/// Whether points lie at several places of the axis. Those that are told apart by name alone are all at one, where there is
/// nothing to draw, and an axis without length, which plotters looks for marks on for ever.
fn is_line(points: &[(f64, f64)]) -> bool {
    points.windows(2).any(|pair| pair[0].0 != pair[1].0)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Replaces what stands between the markers of a file.
pub fn put_into(file: &Path, table: &str) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let parts = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        return Err(format!("{} has no lines {BEGIN:?} and {END:?}", file.display()));
    };
    fs::write(file, format!("{before}{BEGIN}\n{table}{END}{after}"))
        .map_err(|error| format!("{}: {error}", file.display()))
}

impl Machine {
    fn look() -> Self {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo").lines().find_map(|line| {
            line.strip_prefix("model name")?
                .split_once(": ")
                .map(|(_, name)| name.to_owned())
        });
        // The date in UTC, from the standard HTTP form: "Fri, 20 Nov 2026 13:05:30 GMT".
        let http = httpdate::fmt_http_date(SystemTime::now());
        let words: Vec<&str> = http.split_whitespace().collect();
        let month = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ]
        .iter()
        .position(|month| Some(month) == words.get(2))
        .map_or(0, |place| place + 1);
        Self {
            time,
            date: format!(
                "{}-{month:02}-{}",
                words.get(3).unwrap_or(&""),
                words.get(1).unwrap_or(&"")
            ),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            processor: processor.unwrap_or_else(|| "unknown processor".into()),
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            versions: peers::versions(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_one() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn what_is_at_one_place_is_no_line() {
        assert!(!is_line(&[]) && !is_line(&[(1.0, 2.0)]) && !is_line(&[(0.0, 2.0), (0.0, 3.0)]));
        assert!(is_line(&[(1.0, 2.0), (1.0, 3.0), (2.0, 3.0)]));
    }

    #[test]
    fn three_digits_are_shown() {
        assert_eq!(
            [1234.5, 123.4, 12.34, 1.234].map(number),
            ["1234", "123", "12.3", "1.23"].map(str::to_owned)
        );
    }

    #[test]
    fn a_table_goes_between_the_markers() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("README.md");
        fs::write(&file, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).unwrap();
        put_into(&file, "new\n").unwrap();
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            format!("before\n{BEGIN}\nnew\n{END}\nafter\n")
        );
        fs::write(&file, "no markers").unwrap();
        assert!(put_into(&file, "new\n").is_err());
    }
}
