//! The guides: what they refer to is there.
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

/// The pages of the project: those of its top folder, of the server, of plugins and of decisions.
fn pages() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = Vec::new();
    for folder in [".", "server/docs", "server/docs/decisions", "plugins"] {
        for entry in fs::read_dir(top.join(folder)).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// A page without its examples, in which `](` and `#` mean other things.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        fenced ^= line.starts_with("```");
        !fenced && !line.starts_with("    ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What a heading is called in a link, as GitHub and most others do it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c });
    kept.collect()
}

fn anchors(page: &Path) -> HashSet<String> {
    let text = prose(page);
    text.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

#[test]
fn every_link_leads_to_what_is_there() {
    let (mut wrong, mut links) = (Vec::new(), 0);
    for page in pages() {
        let text = prose(&page);
        for link in text.split("](").skip(1) {
            let target = link.split([')', ' ']).next().unwrap_or_default();
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (path, wanted) = target.split_once('#').unwrap_or((target, ""));
            let file = match path {
                "" => page.clone(),
                path => page.parent().expect("a page is in a folder").join(path),
            };
            if !file.exists() || !wanted.is_empty() && !anchors(&file).contains(wanted) {
                wrong.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(links > 50, "only {links} links were found");
}
