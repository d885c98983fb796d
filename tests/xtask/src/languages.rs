//! The policy of `plugins/examples` in every language: its tools installed, built, measured.
use crate::{
    build,
    command::{Result, command, project, run},
    setup,
};

const EXAMPLES: &str = "plugins/examples";

/// Installs what is missing, in the versions that the examples' lock files name, and builds the examples.
pub fn build() -> Result {
    setup::for_languages()?;
    for language in ["js", "ts"] {
        let folder = project().join(EXAMPLES).join(language);
        if !folder.join("node_modules/.bin/componentize-qjs").exists() {
            // Nothing that is installed may run for that.
            let arguments = [
                "install",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--prefer-offline",
            ];
            run(command("npm", &arguments).current_dir(folder))?;
        }
    }
    let folder = project().join(EXAMPLES).join("python");
    if !folder.join(".venv/bin/componentize-py").exists() {
        run(command("python3", &["-m", "venv", ".venv"]).current_dir(&folder))?;
        let arguments = ["install", "--quiet", "--requirement", "requirements.txt"];
        run(command(folder.join(".venv/bin/pip"), &arguments).current_dir(&folder))?;
    }
    run(build::wasmserve(&["build", EXAMPLES]).env("CARGO_TARGET_DIR", build::plugins_target()))
}

/// Measures what the examples cost.
pub fn measure() -> Result {
    setup::for_build()?;
    build::measuring()?;
    build()?;
    run(&mut command(build::target().join("release/languages"), &[]))
}
