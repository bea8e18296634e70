"""A past evaluation, prepared once more by lm-eval itself, up to where it would ask the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import lm_eval.evaluator
from lm_eval.defaults import DEFAULT_OTHER_SEED
from lm_eval.tasks import TaskManager

from gilot_plugin.artifacts.evaluations import PastEvaluation
from gilot_plugin.errors import ConfigError
from gilot_plugin.harness.ablating.bench import Bench
from gilot_plugin.harness.entry.start import leaves
from gilot_plugin.harness.watching.wrapping import wrapped


class _Prepared(Exception):  # noqa: N818 - a signal, not an error
    """lm-eval is about to call its ``evaluate``."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.arguments = arguments


def task_manager(past: PastEvaluation, include_path: str | None) -> TaskManager:
    """lm-eval's index of tasks, as the evaluation had it.

    Args:
        past: The evaluation.
        include_path: Folder of other tasks than lm-eval's, which results do not tell.
    """
    given = past.arguments.get("model_args")
    return TaskManager(include_path=include_path, metadata=dict(given) if isinstance(given, Mapping) else {})


def loader_of(manager: Any) -> Callable[[str], Any]:
    """Loads a task by its name, with the seed that lm-eval draws examples with.

    Args:
        manager: lm-eval's ``TaskManager``; None for one that knows its own tasks.
    """

    def load(name: str) -> Any:
        found = dict(leaves((manager or TaskManager()).load_task_or_group([name])))
        if name not in found:
            raise ConfigError(f"ablate: shots_of={name!r}: lm-eval knows no such task")
        found[name].set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
        return found[name]

    return load


def check_tasks(manager: Any, names: list[str], include_path: str | None) -> None:
    """Refuse tasks that are not there, before a model loads.

    Raises:
        ConfigError: One of them is not.
    """
    missing = [name for name in names if not manager.match_tasks([name])]
    if missing:
        more = (
            f"they are not in {include_path}"
            if include_path
            else "give the folder of its file as --include_path"
        )
        raise ConfigError(f"lm-eval knows no task {', '.join(map(repr, missing))}: {more}")


def prepare_again(past: PastEvaluation, lm: Any, task: str, manager: Any) -> Bench:
    """Have lm-eval prepare a task as it did then: examples, seeds, generation settings, samples.

    Args:
        past: The evaluation.
        lm: lm-eval's model object.
        task: Name of the task.
        manager: See :func:`task_manager`.

    Raises:
        ConfigError: lm-eval cannot load the task.
    """
    told, arguments = past.content, past.arguments
    numbers = [row["doc_id"] for row in past.rows(task)]
    ids = list(dict.fromkeys(numbers))
    # With --samples, which results do not tell, other documents than the first ones were evaluated.
    chosen = {task: ids} if ids and sorted(ids) != list(range(len(ids))) else None
    original = lm_eval.evaluator.evaluate

    def stop(_: Any) -> Any:
        def call(**given: Any) -> NoReturn:
            raise _Prepared(given)

        return call

    try:
        with wrapped(lm_eval.evaluator, "evaluate", stop):
            lm_eval.evaluator.simple_evaluate(
                model=lm,
                tasks=[task],
                num_fewshot=past.num_fewshot(task),
                limit=arguments.get("limit") if chosen is None else None,
                samples=chosen,
                gen_kwargs=arguments.get("gen_kwargs") or None,
                system_instruction=told.get("system_instruction"),
                apply_chat_template=told.get("chat_template") is not None,
                fewshot_as_multiturn=bool(told.get("fewshot_as_multiturn")),
                random_seed=arguments.get("random_seed"),
                numpy_random_seed=arguments.get("numpy_seed"),
                torch_random_seed=arguments.get("torch_seed"),
                fewshot_random_seed=arguments.get("fewshot_seed"),
                task_manager=manager,
                confirm_run_unsafe_code=True,  # it was run before, by the same hand
            )
    except _Prepared as prepared:
        given = dict(prepared.arguments)
        tasks = dict(leaves(given.pop("task_dict")))
        if task not in tasks:
            raise ConfigError(f"lm-eval loads {', '.join(map(repr, tasks))} for task {task!r}") from None
        return Bench(task, tasks[task], given.pop("lm"), given, original, loader_of(manager))
    except (ValueError, KeyError, TypeError, OSError, ImportError, AttributeError, AssertionError) as error:
        raise ConfigError(f"lm-eval cannot load task {task!r}: {error!r}") from error
    raise ConfigError(f"lm-eval did not evaluate task {task!r}")
