"""What the acceptance checks share: running the slicewise binary, measuring errors, printing the table."""

import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

TOLERANCE = 1e-4
TIMEOUT_S = 900
DEFAULT_BINARY = Path(__file__).parents[2] / "target/release/slicewise"


class Failure(Exception):
    """A comparison that could not be made, with the reason in one line."""


def slicewise(binary: Path, *arguments) -> None:
    """Runs one slicewise command; raises `Failure` with the last line it printed if it fails."""
    command = [str(binary), *map(str, arguments)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"{type(error).__name__}: {error}") from error
    if result.returncode != 0:
        lines = (result.stderr.strip() or result.stdout.strip() or "no message").splitlines()
        raise Failure(f"exit {result.returncode}: {lines[-1]}")


def slicewise_run(binary: Path, model, x: Path, engine: str, *options) -> np.ndarray:
    """The logits slicewise computes for the input in an .npy file."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "y.npy"
        arguments = ("--input", x, "--output", output, "--engine", engine, "--task", "logits")
        slicewise(binary, "run", model, *arguments, *options)
        return np.load(output)


def relative_error(output: np.ndarray, expected: np.ndarray) -> float:
    """The largest error relative to the expected output's range; raises `Failure` on another shape."""
    if output.shape != expected.shape:
        raise Failure(f"shape {output.shape}, expected {expected.shape}")
    expected = expected.astype(np.float64)
    return float(np.abs(output - expected).max() / np.ptp(expected))


class Table:
    """A table of named comparisons printed as it grows, and whether all of them held."""

    def __init__(self, subject_width: int, columns: list[str]):
        self.width, self.columns = subject_width, columns
        self.comparisons, self.failures = 0, []
        print(" " * subject_width + "".join(f"{column:>18}" for column in columns), flush=True)

    def row(self, subject: str, comparisons: dict) -> None:
        """Makes and prints one row: `comparisons` maps a column to a function that returns an error or raises."""
        started, line = time.monotonic(), f"{subject:<{self.width}}"
        for column in self.columns:
            line += f"{self.cell(f'{subject} {column}', comparisons[column]) if column in comparisons else '-':>18}"
        print(f"{line}{time.monotonic() - started:8.1f} s", flush=True)

    def cell(self, what: str, compare) -> str:
        """One comparison's text; remembers it if it failed."""
        self.comparisons += 1
        try:
            error = compare()
        except Exception as failure:  # every failure is a row of the table: the rest must still be compared
            message = str(failure).strip() or type(failure).__name__
            self.failures.append(f"{what}: {message.splitlines()[0]}")
            return "FAILED"
        if error <= TOLERANCE:
            return f"{error:.1e}"
        self.failures.append(f"{what}: error {error:.2e} of the output's range, more than {TOLERANCE:.0e}")
        return f"{error:.1e} WRONG"

    def finish(self) -> int:
        """Prints the failures and returns the process's exit code."""
        for failure in self.failures:
            print(failure)
        print(f"{self.comparisons} comparisons, {len(self.failures)} failed")
        return 1 if self.failures or not self.comparisons else 0
