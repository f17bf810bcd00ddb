//! JSON as people read it: indented, with lists of numbers and names on one line.

use serde::Serialize;
use serde_json::Value;

/// A value as indented JSON with a line end.
pub fn pretty(value: &impl Serialize) -> String {
    // What this program serialises has string keys and finite numbers: nothing can fail.
    let value = serde_json::to_value(value).unwrap_or_default();
    let mut text = String::new();
    write(&mut text, &value, 0);
    text.push('\n');
    text
}

fn write(text: &mut String, value: &Value, depth: usize) {
    let is_plain = |v: &Value| !v.is_array() && !v.is_object();
    match value {
        Value::Array(items) if items.iter().all(is_plain) => {
            let items: Vec<String> = items.iter().map(Value::to_string).collect();
            *text += &format!("[{}]", items.join(", "));
        }
        Value::Array(items) => {
            let mut line = Lines::open(text, '[', depth);
            for item in items {
                line.next(text);
                write(text, item, depth + 1);
            }
            line.close(text, ']');
        }
        Value::Object(fields) if fields.is_empty() => text.push_str("{}"),
        Value::Object(fields) => {
            let mut line = Lines::open(text, '{', depth);
            for (key, item) in fields {
                line.next(text);
                *text += &format!("{}: ", Value::from(key.as_str()));
                write(text, item, depth + 1);
            }
            line.close(text, '}');
        }
        plain => *text += &plain.to_string(),
    }
}

/// Items of a list or an object, each on a line of its own.
struct Lines {
    depth: usize,
    empty: bool,
}

impl Lines {
    fn open(text: &mut String, bracket: char, depth: usize) -> Self {
        text.push(bracket);
        Lines { depth, empty: true }
    }

    fn next(&mut self, text: &mut String) {
        let comma = if self.empty { "" } else { "," };
        self.empty = false;
        *text += &format!("{comma}\n{}", "  ".repeat(self.depth + 1));
    }

    fn close(self, text: &mut String, bracket: char) {
        *text += &format!("\n{}{bracket}", "  ".repeat(self.depth));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_plain_values_stay_on_one_line() {
        let value = serde_json::json!({
            "name": "a \"b\"",
            "ms": [1.5, 2, null],
            "arms": [{"x": 1}, {}],
            "none": [],
            "nested": [[1, 2], [3]],
        });
        let want = r#"{
  "name": "a \"b\"",
  "ms": [1.5, 2, null],
  "arms": [
    {
      "x": 1
    },
    {}
  ],
  "none": [],
  "nested": [
    [1, 2],
    [3]
  ]
}
"#;
        let text = pretty(&value);
        assert_eq!(text, want);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
