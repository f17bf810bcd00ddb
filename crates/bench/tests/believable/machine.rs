//! A machine that is as noisy as a shared one, and benchmarks on it.

use slicewise_bench::judge::{self, judge};
use slicewise_bench::record::{Arm, Record, Status, Visit};

/// SplitMix64.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Student's t with three degrees of freedom, scaled to a standard deviation of 1: heavy tails.
    pub(crate) fn heavy(&mut self) -> f64 {
        let chi: f64 = (0..3).map(|_| self.normal().powi(2)).sum();
        self.normal() / (chi / 3.0).sqrt() / 3f64.sqrt()
    }
}

/// How the machine misbehaves; all figures are relative times.
#[derive(Clone, Copy)]
pub(crate) struct Noise {
    /// Standard deviation of a visit's median.
    pub(crate) visit: f64,
    /// Standard deviation of the step that the machine's speed takes from visit to visit.
    pub(crate) walk: f64,
    /// Height of a slow wave of the machine's speed.
    pub(crate) wave: f64,
    /// How often a visit is disturbed, by half as much time again at most.
    pub(crate) spikes: f64,
    /// Standard deviation of what a process start does to an arm for good: where its code and its memory
    /// lie.
    pub(crate) start: f64,
    /// Whether that has heavy tails.
    pub(crate) start_tails: bool,
    /// Standard deviation of the machine's speed from run to run.
    pub(crate) run: f64,
}

/// A shared machine with one core half busy, as bad as was seen.
pub(crate) const SHARED: Noise = Noise {
    visit: 0.015,
    walk: 0.002,
    wave: 0.04,
    spikes: 0.08,
    start: 0.004,
    start_tails: true,
    run: 0.05,
};

/// A machine that speeds up and slows down within a run.
pub(crate) struct Machine {
    pub(crate) noise: Noise,
    pub(crate) random: Random,
    visits: usize,
    walk: f64,
    speed: f64,
}

impl Machine {
    pub(crate) fn start(noise: Noise, seed: u64) -> Machine {
        let mut random = Random(seed);
        let speed = noise.run * random.normal();
        Machine {
            noise,
            random,
            visits: 0,
            walk: 0.0,
            speed,
        }
    }

    /// The milliseconds of a visit to an arm that takes 10 ms times `factor` where all is well.
    fn visit(&mut self, round: usize, factor: f64) -> Visit {
        let Noise {
            visit,
            walk,
            wave,
            spikes,
            ..
        } = self.noise;
        self.visits += 1;
        self.walk += walk * self.random.normal();
        let wave = wave * (self.visits as f64 / 170.0 * std::f64::consts::TAU).sin();
        let mut log = self.speed + self.walk + wave + visit * self.random.heavy();
        if self.random.uniform() < spikes {
            log += 0.4 * self.random.uniform();
        }
        Visit {
            round,
            ms: vec![10.0 * factor * log.exp()],
            ..Visit::default()
        }
    }

    /// A benchmark of arms that take `factors` times as long as the first, in groups of 12, with more
    /// rounds for what is open: what the campaign does, without networks.
    pub(crate) fn benchmark(
        &mut self,
        factors: &[f64],
        rounds: usize,
        most_rounds: usize,
    ) -> Record {
        let arms = factors.iter().enumerate().map(|(i, _)| Arm {
            model: format!("arm{i}"),
            status: Status::Measured,
            reference: i == 0,
            ..Arm::default()
        });
        let mut record = empty();
        record.arms = arms.collect();
        let mut start = |factor: &f64| {
            let draw = match self.noise.start_tails {
                true => self.random.heavy(),
                false => self.random.normal(),
            };
            factor * (self.noise.start * draw).exp()
        };
        let factors: Vec<f64> = factors.iter().map(&mut start).collect();
        let others: Vec<usize> = (1..factors.len()).collect();
        let mut first = 0;
        for group in others.chunks(12) {
            let mut active = group.to_vec();
            for round in 0..most_rounds {
                if round >= rounds {
                    active.retain(|&i| judge::is_open(&record.arms[i]));
                }
                if active.is_empty() {
                    break;
                }
                self.round(&mut record, first + round, &active, &factors);
                judge::judge_some(&mut record, group);
            }
            first += most_rounds;
        }
        judge(&mut record);
        for arm in &mut record.arms {
            arm.summarise();
        }
        record
    }

    fn round(&mut self, record: &mut Record, round: usize, active: &[usize], factors: &[f64]) {
        let half = active.len() / 2;
        let place = round % (half + 1);
        for (k, &i) in active.iter().enumerate() {
            if k == place {
                let visit = self.visit(round, factors[0]);
                record.arms[0].visits.push(visit);
            }
            let visit = self.visit(round, factors[i]);
            record.arms[i].visits.push(visit);
            if k == (place + half).min(active.len() - 1) {
                let visit = self.visit(round, factors[0]);
                record.arms[0].control.push(visit);
            }
        }
    }
}

/// A record of nothing.
fn empty() -> Record {
    let text = r#"{"kind": "slicewise-bench", "schema": 1, "slicewise": "0.1.0", "started": "",
        "complete": true, "suite": "quick", "arms": []}"#;
    Record::parse(text).expect("the least that a record holds")
}
