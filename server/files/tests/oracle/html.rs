//! A small reader of HTML: the part of the standard's tokenizer that a listing may use, and a panic for everything else, so
//! that whatever a browser might see otherwise is a finding.

/// An element with its attributes and the text that follows its start tag directly.
#[derive(Debug)]
pub struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
}

impl Element {
    /// Its name and those of its attributes, in order.
    pub fn signature(&self) -> String {
        let names = self.attributes.iter().map(|(name, _)| name.as_str());
        std::iter::once(self.name.as_str())
            .chain(names)
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        let (_, value) = self.attributes.iter().find(|(of, _)| of == name)?;
        Some(value)
    }
}

/// The elements of a page in the order of their start tags; each is closed where it has to be.
pub fn read(page: &str) -> Vec<Element> {
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("a document type");
    let (mut elements, mut open): (Vec<Element>, Vec<String>) = (Vec::new(), Vec::new());
    while let Some(at) = rest.find('<') {
        if let Some(last) = elements.last_mut().filter(|last| open.last() == Some(&last.name)) {
            last.text.push_str(&characters(&rest[..at]));
        } else {
            // Between elements; it is shown all the same.
            characters(&rest[..at]);
        }
        rest = &rest[at + 1..];
        if let Some(closing) = rest.strip_prefix('/') {
            let (name, after) = closing.split_once('>').expect("a whole tag");
            assert_eq!(open.pop().as_deref(), Some(name), "closed in order");
            rest = after;
            continue;
        }
        let (element, after) = start_tag(rest);
        rest = after;
        if element.name == "style" {
            // Raw text: nothing is escaped in it.
            rest = rest.split_once("</style>").expect("an end of the style").1;
        } else if element.name != "meta" {
            open.push(element.name.clone());
        }
        elements.push(element);
    }
    assert!(
        open.is_empty() && rest.trim().is_empty(),
        "left open: {open:?}, left over: {rest:?}"
    );
    elements
}

/// A start tag after its `<`, and what follows it.
fn start_tag(text: &str) -> (Element, &str) {
    let word = |text: &str| {
        text.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-')
            .expect("a tag has an end")
    };
    let (name, mut rest) = text.split_at(word(text));
    assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "no tag: <{text}");
    let mut attributes = Vec::new();
    while let Some(attribute) = rest.strip_prefix(' ') {
        let (name, value) = attribute.split_at(word(attribute));
        let (value, after) = value
            .strip_prefix("=\"")
            .and_then(|value| value.split_once('"'))
            .expect("a value in double quotes");
        attributes.push((name.to_owned(), characters(value)));
        rest = after;
    }
    let element = Element {
        name: name.to_owned(),
        attributes,
        text: String::new(),
    };
    (element, rest.strip_prefix('>').expect("the end of the tag"))
}

/// Text with its character references resolved. A bare `&` would be read in more than one way.
fn characters(text: &str) -> String {
    let mut pieces = text.split('&');
    let mut resolved = pieces.next().expect("split gives at least one piece").to_owned();
    for piece in pieces {
        let (reference, after) = piece.split_once(';').expect("a whole character reference");
        resolved.push(match reference {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "#39" => '\'',
            other => panic!("&{other}; is not used here"),
        });
        resolved.push_str(after);
    }
    resolved
}

/// The text of the only element of this name.
pub fn text_of<'a>(page: &'a [Element], name: &str) -> &'a str {
    let mut named = page.iter().filter(|element| element.name == name);
    let text = &named.next().expect("such an element").text;
    assert!(named.next().is_none(), "one {name}");
    text
}

/// The reference and the text of each entry's link.
pub fn rows(page: &[Element]) -> Vec<(String, String)> {
    page.iter()
        .enumerate()
        .filter(|(_, element)| matches!(element.attribute("class"), Some("file" | "directory")))
        .map(|(at, _)| {
            let [_, cell, link, ..] = &page[at..] else {
                panic!("a row has a cell with a link")
            };
            assert_eq!((cell.name.as_str(), link.name.as_str()), ("td", "a"));
            let reference = link.attribute("href").expect("a link has a reference");
            (reference.to_owned(), link.text.clone())
        })
        .collect()
}
