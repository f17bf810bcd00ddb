//! Arithmetic of what is known while a file is read.

use super::value::Int;

/// A function of two numbers, by its operator's name.
pub(super) fn float_function(op: &str) -> Option<fn(f32, f32) -> f32> {
    Some(match op {
        "Add" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        "Pow" => f32::powf,
        _ => return None,
    })
}

/// A comparison of two numbers, by its operator's name.
pub(super) fn float_comparison(op: &str) -> Option<fn(f32, f32) -> bool> {
    Some(match op {
        "Equal" => |a, b| a == b,
        "Less" => |a, b| a < b,
        "Greater" => |a, b| a > b,
        _ => return None,
    })
}

/// Arithmetic of whole numbers of which some are multiples of the open batch, itself at least 1;
/// `None` if the result is no such number or does not fit.
pub(super) fn int_function(op: &str, a: Int, b: Int) -> Option<Int> {
    let known = |v: Option<i64>| v.map(Int::known);
    let truth = |v: bool| Some(Int::known(i64::from(v)));
    let of_batch = |v: Option<i64>| v.map(|value| Int { value, batch: true });
    match (a.batch, b.batch) {
        (false, false) => {
            let (a, b) = (a.value, b.value);
            match op {
                "Add" => known(a.checked_add(b)),
                "Sub" => known(a.checked_sub(b)),
                "Mul" => known(a.checked_mul(b)),
                "Div" => known(a.checked_div(b)),
                "Mod" => known(a.checked_rem_euclid(b)),
                "Equal" => truth(a == b),
                "Less" => truth(a < b),
                "Greater" => truth(a > b),
                "And" => truth(a != 0 && b != 0),
                "Or" => truth(a != 0 || b != 0),
                _ => None,
            }
        }
        (true, true) => match op {
            "Add" => of_batch(a.value.checked_add(b.value)),
            "Div" if b.value != 0 && a.value.checked_rem(b.value) == Some(0) => {
                known(a.value.checked_div(b.value))
            }
            "Equal" => truth(a.value == b.value),
            _ => None,
        },
        (true, false) => match op {
            "Mul" => of_batch(a.value.checked_mul(b.value)),
            "Div" if a.value.checked_rem(b.value) == Some(0) => {
                of_batch(a.value.checked_div(b.value))
            }
            "Add" | "Sub" if b.value == 0 => Some(a),
            "Equal" if a.value > 0 && b.value <= 0 => truth(false),
            _ => None,
        },
        (false, true) => match op {
            "Mul" | "Equal" | "Add" => int_function(op, b, a),
            _ => None,
        },
    }
}
