//! Update masks, as AIP-134 reads them.

use crate::Violations;

/// Which fields an update writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask(Vec<&'static str>);

impl Mask {
    /// Reads a request's mask against the mutable fields of the resource: absent means the populated ones,
    /// `*` means all, an unknown or immutable path is a violation that names it.
    pub fn parse(
        paths: Option<&[String]>,
        mutable: &[&'static str],
        populated: impl Fn(&str) -> bool,
        violations: &mut Violations,
    ) -> Self {
        Self::parse_field("update_mask", paths, mutable, populated, violations)
    }

    /// [`Mask::parse`] for a mask in another field, such as one that says what to read.
    pub fn parse_field(
        field: &str,
        paths: Option<&[String]>,
        known: &[&'static str],
        absent: impl Fn(&str) -> bool,
        violations: &mut Violations,
    ) -> Self {
        match paths {
            None | Some([]) => Self(known.iter().copied().filter(|path| absent(path)).collect()),
            Some([star]) if star == "*" => Self(known.to_vec()),
            Some(paths) => {
                let mut fields = Vec::new();
                for path in paths {
                    match known.iter().find(|known| *known == path) {
                        Some(path) => fields.push(*path),
                        None => violations.format(
                            &format!("{field}.{}", crate::text::printable(path, 64)),
                            "a path of a field that the method knows",
                        ),
                    }
                }
                Self(fields)
            }
        }
    }

    pub fn has(&self, field: &str) -> bool {
        self.0.contains(&field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[&str] = &["locale", "tags"];

    #[test]
    fn absent_star_and_unknown_paths() {
        let mut violations = Violations::default();
        let absent = Mask::parse(None, FIELDS, |field| field == "tags", &mut violations);
        assert!(absent.has("tags") && !absent.has("locale"));
        let star = Mask::parse(Some(&["*".into()]), FIELDS, |_| false, &mut violations);
        assert!(star.has("tags") && star.has("locale"));
        assert!(violations.is_empty());
        Mask::parse(Some(&["tags".into(), "name".into()]), FIELDS, |_| true, &mut violations);
        assert_eq!(violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), ["update_mask.name"]);
    }
}
