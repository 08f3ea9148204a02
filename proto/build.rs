//! Compiles the contracts: checks them, generates the code, and writes the policy table, the request ids, the
//! `Debug` that hides personal data and the masks that answers are given.

// Cargo reads a build script's standard output.
#![allow(clippy::print_stdout)]

#[path = "build/checks.rs"]
mod checks;
#[path = "build/codegen.rs"]
mod codegen;
#[path = "build/masks.rs"]
mod masks;
#[path = "build/tables.rs"]
mod tables;

use std::path::{Path, PathBuf};
use std::{env, fs, io};

type BoxError = Box<dyn std::error::Error>;

fn main() -> Result<(), BoxError> {
    for path in ["build", "cqm", "third_party"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["third_party", "."])?;
    compiler.include_imports(true).include_source_info(true);
    for file in proto_files(Path::new("cqm"))? {
        compiler.open_file(file)?;
    }
    compiler.open_file("third_party/google/rpc/code.proto")?;
    compiler.open_file("third_party/google/rpc/error_details.proto")?;
    let pool = compiler.descriptor_pool();

    let faults = checks::faults(&pool);
    if !faults.is_empty() {
        for fault in faults {
            println!("cargo::error={fault}");
        }
        std::process::exit(1);
    }

    codegen::generate(&pool, compiler.file_descriptor_set())?;
    fs::write(out_dir.join("policies.rs"), tables::policies(&pool))?;
    fs::write(out_dir.join("mutations.rs"), tables::mutations(&pool))?;
    fs::write(out_dir.join("debugs.rs"), tables::debugs(&pool))?;
    fs::write(out_dir.join("masks.rs"), masks::masks(&pool))?;
    fs::write(out_dir.join("rights.rs"), masks::rights(&pool))?;
    // What reflection serves: with the options, without the comments.
    fs::write(
        out_dir.join("descriptors.bin"),
        compiler.include_source_info(false).encode_file_descriptor_set(),
    )?;
    Ok(())
}

/// All contracts under a folder, sorted, so that two builds open them in one order.
fn proto_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(proto_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
