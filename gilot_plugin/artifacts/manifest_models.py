"""What stands in the manifest of a run, see :mod:`gilot_plugin.artifacts.models`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from typing_extensions import TypeAliasType

from gilot_plugin.artifacts.fields import Closed, Natural, Open, Sha256, Words, optional
from gilot_plugin.artifacts.models import SCHEMA_VERSION, Version

Count = TypeAliasType("Count", Natural)


class ChosenDocumentFields(Closed):
    """A document that was chosen."""

    doc_id: Count
    reason: str = Field(description="Why, in words.")


class SelectedFields(Closed):
    """Which samples of a task were chosen."""

    strategy: str = Field(description="Name of the selection strategy.")
    over: Literal["task", "group", "run"] = optional(
        description="Among what it chose: the samples of the task, of the group that was asked for, or of "
        "the run.",
    )
    options: dict[str, Any] = Field(description="Its options.")
    candidates: Count = Field(description="Samples that could have been chosen.")
    chosen: list[ChosenDocumentFields] = Field(description="Samples that were chosen.")
    left_out: list[Count] = optional(
        description="Chosen documents that have no record because the budget was spent."
    )
    error: str | None = Field(description="Why nothing could be chosen, if so.")


class RecordCountsFields(Closed):
    """Records by status."""

    ok: Count
    skipped: Count
    failed: Count


class TaskFields(Closed):
    """A task of the run."""

    file: Annotated[str, Field(pattern=r"^[^/\\]+$")] | None = Field(
        title="the name of a file in the same folder",
        description="Name of the file with the task's records, in the manifest's folder; null if there are "
        "none.",
    )
    output_type: str = Field(description="The task's output type in the harness.")
    task_version: Any = Field(description="The task's own version.")
    config_hash: Sha256 = Field(description="Which of the settings it was explained with.")
    selection: SelectedFields = Field(description="Which samples were chosen, and how.")
    records: RecordCountsFields = Field(description="Number of records by status.")


class VersionsFields(Open):
    """Versions of software."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": {"type": ["string", "null"]}})

    gilot_plugin: str
    lm_eval: str
    torch: str
    transformers: str
    POT: str
    python: str


class ModelFields(Open):
    """The model."""

    name: str = Field(description="As in the records.")
    lm_eval_model: str = optional(
        description="Name of lm-eval's model class that loaded it, if that is known."
    )
    model_args: dict[str, Any] = optional(
        description="What the class was loaded with, access tokens aside: adapter, revision, dtype and all "
        "else that makes it this model.",
    )


class CacheUsedFields(Closed):
    """How the model was read."""

    key_value_cache: bool = Field(
        description="Whether sequences continued from a cache; without, each was read whole at every step."
    )
    prefix_trees: bool = Field(
        description="Whether what prompts have in common was read once, and continuations as trees."
    )
    reason: str | None = Field(description="Why one of them was not used; null where both were.")
    errors: list[str] = Field(description="What was raised while the model was tried out; each is a defect.")
    tokens_read: Natural = Field(description="Token positions that went through the model.")
    tokens_with_trees: Natural = Field(description="About how many would have with prefix trees.")
    logits_computed: Natural = optional(
        description="Tokens whose logits were computed where prefix trees were not used."
    )
    logits_wanted: Natural = optional(description="Those of them whose logits were wanted.")


class PluginFields(Open):
    """A plugin of another package."""

    name: str
    version: str | None


class ManifestFields(Closed):
    """``attributions_manifest_<date>.json``."""

    model_config = ConfigDict(
        json_schema_extra={
            "$id": f"urn:gilot-plugin:schema:manifest:{SCHEMA_VERSION}",
            "title": "GiLOT run manifest",
            "description": "attributions_manifest_<date>.json: what a run used, what it chose to explain, "
            "and where the records are.",
        }
    )

    schema_version: Version = Field(description="Version of this schema and of the records' schema.")
    date: Words = Field(description="When the run was saved, as it stands in the names of its files.")
    previous_date: Words = optional(
        description="The date in the names of its files while the run was under way."
    )
    status: Literal["complete", "interrupted"] = Field(
        description="complete: every chosen sample has its record, but for those that a budget left out. "
        "interrupted: some have none."
    )
    versions: VersionsFields = Field(description="Versions of the software that the numbers depend on.")
    model: ModelFields = Field(description="The model, with whatever else is known of it.")
    cache_use: CacheUsedFields = optional(
        description="How the first process read the model. Missing where it read nothing."
    )
    configs: dict[Sha256, dict[str, Any]] = Field(description="The settings in full, by their hash.")
    plugins: list[PluginFields] = Field(description="Installed plugins that were active.")
    tasks: dict[str, TaskFields] = Field(description="By name of the task.")
