//! Requests from arbitrary bytes.
use arbitrary::Unstructured;

/// Choices drawn from bytes. When they run out, every choice is the first.
pub struct Input<'a>(Unstructured<'a>);

impl<'a> Input<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self(Unstructured::new(data))
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0.int_in_range(0..=end - 1).expect("a range that is not empty")
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// One in `n`, roughly.
    pub fn rarely(&mut self, n: u64) -> bool {
        self.below(n) == n - 1
    }

    /// Up to `most` words of a vocabulary, now and then broken by a character of any kind.
    pub fn sentence(&mut self, vocabulary: &[&str], most: u64) -> String {
        let mut sentence = String::new();
        for _ in 0..self.below(most + 1) {
            if self.rarely(16) {
                let any = u32::from(self.0.arbitrary::<u16>().unwrap_or_default());
                sentence.push(char::from_u32(any % 0x250).expect("below the surrogates"));
            } else {
                sentence.push_str(self.one_of(vocabulary));
            }
        }
        sentence
    }

    /// A sentence that can stand as a field value.
    pub fn field(&mut self, vocabulary: &[&str], most: u64) -> String {
        let mut field = self.sentence(vocabulary, most);
        field.retain(|c| c == '\t' || !c.is_ascii_control());
        field
    }

    /// A comma-separated list of one to `most` elements, most of them well formed; one list in eight is any sentence.
    pub fn list(&mut self, vocabulary: &[&str], most: u64, element: fn(&mut Self) -> String) -> String {
        if self.rarely(8) {
            return self.field(vocabulary, 2 * most);
        }
        let mut list = element(self);
        for _ in 0..self.below(most) {
            list.push_str(self.one_of(&[",", ", ", " ,", ",\t,", ", ,"]));
            if self.rarely(24) {
                list.push_str(&self.field(vocabulary, 3));
            } else {
                list.push_str(&element(self));
            }
        }
        list
    }
}
