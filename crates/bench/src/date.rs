//! The date of a record.

use std::time::{SystemTime, UNIX_EPOCH};

/// The current time in UTC as RFC 3339 writes it, to the second: `2026-11-22T18:03:59Z`.
pub fn now_rfc3339() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    rfc3339(since.as_secs())
}

/// Seconds since 1970 as RFC 3339 writes them. The date is worked out in years that begin in March,
/// so that the leap day is the last of its year.
fn rfc3339(seconds: u64) -> String {
    const DAYS_FROM_0000_03_01_TO_1970: u64 = 719_468;
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let days = seconds / 86_400 + DAYS_FROM_0000_03_01_TO_1970;
    let era = days / DAYS_IN_400_YEARS;
    let day_of_era = days % DAYS_IN_400_YEARS;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}Z")
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_are_those_that_the_date_command_prints() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_795_370_639, "2026-11-22T18:03:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        let wrong: Vec<_> = cases
            .iter()
            .filter(|(s, want)| super::rfc3339(*s) != *want)
            .map(|(s, want)| format!("{s}: {}, want {want}", super::rfc3339(*s)))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
