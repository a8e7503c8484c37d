"""What `make release` reports about one table of the catalog."""

from dataclasses import dataclass
from typing import Literal

State = Literal["added", "unchanged", "checked", "to do", "not found"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        table: the data file or the place in the repository.
        state: `not found` for what no source could be asked about, `to do` for what a person has to change.
        text: what was added or checked, or what to do.
    """

    table: str
    state: State
    text: str

    def __str__(self) -> str:
        return f"{self.state:<9}  {self.table:<24}  {self.text}"
