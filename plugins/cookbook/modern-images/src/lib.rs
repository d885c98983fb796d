use wasmserve_plugin::{Config, Decision, Policy, Request, proceed};

struct ModernImages;

wasmserve_plugin::export!(ModernImages);

/// What a browser says it takes, and what is put behind the name of the image; the best first.
const FORMATS: [(&str, &str); 2] = [("image/avif", ".avif"), ("image/webp", ".webp")];

impl Policy for ModernImages {
    fn configure(config: &Config) -> Result<Self, String> {
        config.only(&[]).map(|()| Self)
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        let targets = request.targets();
        let is_image = |path: &String| [".jpg", ".jpeg", ".png"].iter().any(|end| path.ends_with(end));
        if !targets.iter().any(is_image) {
            return Ok(proceed().into());
        }
        let accepted = request.header("accept").unwrap_or_default();
        let candidates = targets.into_iter().flat_map(|target| {
            let formats = FORMATS
                .iter()
                .filter(|(format, _)| is_image(&target) && accepted.contains(format));
            let mut paths: Vec<String> = formats.map(|(_, end)| format!("{target}{end}")).collect();
            paths.push(target);
            paths
        });
        Ok(proceed().paths(candidates).into())
    }
}
