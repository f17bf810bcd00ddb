//! A share of many scans for each of several machines.

use std::str::FromStr;

/// One of `count` shares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shard {
    /// Which, 0 being the first.
    index: usize,
    count: usize,
}

/// How a share is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShardChoice {
    /// `i/N`, 1 being the first.
    Fixed(Shard),
    /// `auto` or `auto/N`: the index comes from the environment of a job array, and the count too where it is
    /// not given.
    Auto(Option<usize>),
}

/// Variables that tell the place in a job array: index, and where there are such, count, first index and step.
type Array = (
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
);

const ARRAYS: [Array; 3] = [
    (
        "SLURM_ARRAY_TASK_ID",
        Some("SLURM_ARRAY_TASK_COUNT"),
        Some("SLURM_ARRAY_TASK_MIN"),
        Some("SLURM_ARRAY_TASK_STEP"),
    ),
    // Kubernetes tells no count.
    ("JOB_COMPLETION_INDEX", None, None, None),
    (
        "AWS_BATCH_JOB_ARRAY_INDEX",
        Some("AWS_BATCH_JOB_ARRAY_SIZE"),
        None,
        None,
    ),
];

impl FromStr for ShardChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no share; write 2/8, auto, or auto/8");
        let number = |t: &str| {
            t.parse::<usize>()
                .ok()
                .filter(|n| (1..=1 << 20).contains(n))
        };
        let (which, count) = match text.split_once('/') {
            Some((which, count)) => (which, Some(number(count).ok_or_else(wrong)?)),
            None => (text, None),
        };
        match (which, count) {
            ("auto", count) => Ok(ShardChoice::Auto(count)),
            (which, Some(count)) => {
                let which = number(which).filter(|w| *w <= count).ok_or_else(wrong)?;
                Ok(ShardChoice::Fixed(Shard {
                    index: which - 1,
                    count,
                }))
            }
            _ => Err(wrong()),
        }
    }
}

impl ShardChoice {
    /// The share, asking `environment` for variables.
    ///
    /// # Errors
    /// In words, if the environment does not tell.
    pub fn resolve(self, environment: impl Fn(&str) -> Option<String>) -> Result<Shard, String> {
        let count = match self {
            ShardChoice::Fixed(shard) => return Ok(shard),
            ShardChoice::Auto(count) => count,
        };
        let number = |name: &str| -> Result<Option<usize>, String> {
            let Some(text) = environment(name).filter(|t| !t.is_empty()) else {
                return Ok(None);
            };
            let number = text.trim().parse();
            number
                .map(Some)
                .map_err(|_| format!("{name} is '{text}', not a number"))
        };
        for (index_name, count_name, first_name, step_name) in ARRAYS {
            let Some(index) = number(index_name)? else {
                continue;
            };
            let of = |name: Option<&str>, default| match name {
                Some(name) => Ok::<_, String>(number(name)?.unwrap_or(default)),
                None => Ok(default),
            };
            let (first, step) = (of(first_name, 0)?, of(step_name, 1)?.max(1));
            let count = match (count, count_name) {
                (Some(count), _) => count,
                (None, Some(name)) => number(name)?.ok_or_else(|| {
                    format!("{name} is not set beside {index_name}; write --shard auto/N")
                })?,
                (None, None) => {
                    return Err(format!(
                        "{index_name} comes without a count; write --shard auto/N with the job's completions"
                    ));
                }
            };
            let index = index.saturating_sub(first) / step;
            if index >= count {
                return Err(format!(
                    "{index_name} says share {}, there are {count}",
                    index + 1
                ));
            }
            return Ok(Shard { index, count });
        }
        let names = ARRAYS.map(|(index, ..)| index).join(", ");
        Err(format!(
            "no job array is found: none of {names} is set; write --shard i/N"
        ))
    }
}

impl Shard {
    /// Of things in a known order, those of this share: every `count`-th.
    pub fn of<T>(self, all: Vec<T>) -> Vec<T> {
        let mine = all.into_iter().enumerate();
        mine.filter(|(n, _)| n % self.count == self.index)
            .map(|(_, thing)| thing)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str, variables: &[(&str, &str)]) -> Result<Shard, String> {
        let variables = variables.to_vec();
        text.parse::<ShardChoice>()?.resolve(|name| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, v)| (*v).to_owned())
        })
    }

    #[test]
    fn shares_come_from_the_command_line_or_from_job_arrays() {
        let slurm = [
            ("SLURM_ARRAY_TASK_ID", "7"),
            ("SLURM_ARRAY_TASK_COUNT", "3"),
            ("SLURM_ARRAY_TASK_MIN", "5"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
        ];
        let aws = [
            ("AWS_BATCH_JOB_ARRAY_INDEX", "0"),
            ("AWS_BATCH_JOB_ARRAY_SIZE", "4"),
        ];
        let kubernetes = [("JOB_COMPLETION_INDEX", "2")];
        /// The option, the environment, and index and count if it is a share.
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<(usize, usize)>);
        let cases: [Case<'_>; 14] = [
            ("1/4", &[], Some((0, 4))),
            ("4/4", &slurm, Some((3, 4))),
            ("auto", &slurm, Some((1, 3))),
            ("auto", &aws, Some((0, 4))),
            ("auto/8", &aws, Some((0, 8))),
            ("auto/8", &kubernetes, Some((2, 8))),
            ("auto", &kubernetes, None),
            ("auto/2", &kubernetes, None),
            ("auto", &[], None),
            ("auto", &[("SLURM_ARRAY_TASK_ID", "x")], None),
            ("0/4", &[], None),
            ("5/4", &[], None),
            ("3", &[], None),
            ("1/0", &[], None),
        ];
        for (text, variables, want) in cases {
            let want = want.map(|(index, count)| Shard { index, count });
            assert_eq!(resolve(text, variables).ok(), want, "{text} {variables:?}");
        }
    }

    #[test]
    fn every_scan_is_in_one_share() {
        let mut all: Vec<usize> = (1..=3)
            .flat_map(|i| {
                resolve(&format!("{i}/3"), &[])
                    .unwrap()
                    .of((0..10).collect())
            })
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }
}
