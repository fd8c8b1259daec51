"""The first `wake.yaml` for a database that nobody has described to us: looked at, proposed, written; never a value."""

from connectors.init.database import connected, example_url, source_name
from connectors.init.proposal import (
    Proposal,
    choose_tables,
    default_tables,
    find_trigger,
    proposals,
    propose,
    trigger_choices,
)
from connectors.init.survey import FoundTable, Survey, survey
from connectors.init.triggers import TriggerProposal
from connectors.init.writing import new_files, prompt_path, write

__all__ = [
    "FoundTable",
    "Proposal",
    "Survey",
    "TriggerProposal",
    "choose_tables",
    "connected",
    "default_tables",
    "example_url",
    "find_trigger",
    "new_files",
    "prompt_path",
    "proposals",
    "propose",
    "source_name",
    "survey",
    "trigger_choices",
    "write",
]
