"""The model server is up, answers the guide's question, and survives bad ones."""

import re
import shlex

import pytest

from fixtures.common import kernel_log
from fixtures.container import served
from fixtures.guest.stage import Guest
from fixtures.model import chat, replies
from fixtures.model.chat import Answer, Streamed
from fixtures.model.load import Load
from fixtures.model.stage import Model, surviving
from fixtures.platform import host_log
from fixtures.profile import Profile
from harness.host.host import ANY, Host
from harness.outcome import not_assessed
from harness.run.stage import Run
from harness.text import head

CHINESE = re.compile(r"[\u4e00-\u9fff]")
KEPT = 512  # MiB that PyTorch's allocator may keep for later of what the largest batch needed
PATIENCE = 60  # seconds, at the host's usual pace, for a request that nothing is computed for

THOUGHT = (
    "all {} tokens went into what the model thinks aloud, expected is an answer, too: raise "
    "model.max_tokens, or switch the thinking off (--default-chat-template-kwargs "
    "'{{\"enable_thinking\": false}}' in model.command, where the model knows that)"
)
REFUSED = (400, 404, 422)  # bad request, unknown model, FastAPI's for a body of another form
BAD_REQUESTS: dict[str, dict[str, object]] = {
    "unknown model": {"model": "no-such-model"},
    "no messages": {"messages": []},
    "more tokens than the model can hold": {"max_tokens": 10_000_000},
}


@pytest.mark.clause("model.server")
def test_server_runs_the_guides_command(model: Model, guest: Guest, profile: Profile) -> None:
    script = "tail -n +1 /proc/[0-9]*/cmdline | tr '\\0' ' '"  # a line each
    result = guest.run("sh", "-c", script, ok=ANY)
    wanted = [word for word in served.command(profile) if word.startswith("--") or "." in word]
    serving = [line for line in result.out.splitlines() if all(word in line for word in wanted)]
    assert serving, (
        f"no process in the container has the command line {shlex.join(served.command(profile))}; "
        f"there are:\n{result.out}\nsomething else answers on model.port: stop it, or take "
        "another port"
    )


@pytest.mark.clause("model.ready")
def test_server_serves_the_model(model: Model, profile: Profile) -> None:
    assert profile.model.name in model.served, (
        f"/v1/models has {model.served}, not '{profile.model.name}': --served-model-name in "
        "model.command and model.name have to be the same"
    )


@pytest.mark.clause("model.inside")
def test_server_answers_inside_the_container(
    model: Model, guest: Guest, profile: Profile, lab_host: Host
) -> None:
    url = f"http://127.0.0.1:{profile.model.port}/v1/models"
    limit = f"{lab_host.paced(PATIENCE):.0f}"
    curl = ("curl", "-fsS", "--noproxy", "*", "--max-time", limit, url)
    result = guest.run(*curl, ok=ANY, timeout=PATIENCE + 30)
    assert result.rc == 0, (
        f"curl in the container ended with {result.rc}: {result.err}; 7: nothing listens on the "
        "port, 22: an HTTP error, 28: no answer in time, 127: no curl in the image"
    )
    assert profile.model.name in result.out, (
        f"/v1/models inside says {result.out}, expected '{profile.model.name}' among them: another "
        "server has the port in there? model-server.txt in the evidence has the log of ours"
    )


@pytest.mark.clause("model.answer")
def test_answer_comes_from_the_model(answer: Answer, profile: Profile) -> None:
    assert answer.model == profile.model.name, (
        f"the answer is from '{answer.model}', expected '{profile.model.name}' (model.name): is a "
        "proxy, or another server, between curl and the model?"
    )


@pytest.mark.clause("model.answer")
def test_answer_is_the_assistants(answer: Answer) -> None:
    assert answer.role == "assistant", (
        f"the answer's role is '{answer.role}', expected 'assistant': does --chat-template in "
        "model.command fit the model?"
    )
    assert answer.text.strip() or not answer.reasoning, THOUGHT.format(answer.completion_tokens)
    assert answer.text.strip(), (
        f"the answer is empty after {answer.completion_tokens} tokens, expected are words: is the "
        "model's chat template the right one, and max_tokens large enough?"
    )


@pytest.mark.clause("model.answer")
def test_answer_ended_for_a_reason(answer: Answer, profile: Profile) -> None:
    limit = profile.model.max_tokens
    assert answer.finish_reason in ("stop", "length"), (
        f"finish_reason is '{answer.finish_reason}', expected 'stop' or 'length': the engine gave "
        "up; model-server.txt in the evidence says why"
    )
    assert answer.completion_tokens <= limit, (
        f"{answer.completion_tokens} tokens came, expected {limit} at most (model.max_tokens): the "
        "server does not go by the request; is it the version that the guide names?"
    )


@pytest.mark.clause("model.answer")
def test_usage_adds_up(answer: Answer) -> None:
    counts = f"prompt {answer.prompt_tokens}, completion {answer.completion_tokens}"
    assert min(answer.prompt_tokens, answer.completion_tokens) > 0, (
        f"the server counts {counts} tokens, expected more than none of each: was the question "
        "cut off, or the answer empty? model-server.txt in the evidence"
    )
    assert answer.total_tokens == answer.prompt_tokens + answer.completion_tokens, (
        f"the server counts {counts}, total {answer.total_tokens}, expected their sum: rates in "
        "the report rest on these; is it the version that the guide names?"
    )


@pytest.mark.clause("model.answer")
def test_answer_is_in_chinese(answer: Answer) -> None:
    assert CHINESE.search(answer.text), (
        f"the answer has not a word of Chinese, which the question is in: {answer.text!r}. Was the "
        "question garbled on its way (a locale that is no UTF-8)? Is it a model that knows Chinese?"
    )


@pytest.mark.clause("model.answer")
def test_answer_is_to_the_question(answer: Answer, profile: Profile) -> None:
    missing = unsaid(answer.text, profile)
    assert not missing, (
        f"the answer does not say {', '.join(missing)} (model.terms): {answer.text!r}. Is the "
        "model the right one, and model.max_tokens enough for it to come to the point?"
    )


def unsaid(text: str, profile: Profile) -> list[str]:
    """Terms that a text lacks; a model that only repeats the question has not answered it."""
    said = text.replace(profile.model.question, "")
    return [term for term in profile.model.terms if term not in said]


@pytest.mark.clause("model.streaming")
def test_streamed_answer_is_to_the_question(streamed: Streamed, profile: Profile) -> None:
    assert streamed.text.strip() or not streamed.reasoning, THOUGHT.format(streamed.pieces)
    missing = unsaid(streamed.text, profile)
    assert CHINESE.search(streamed.text) and not missing, (  # noqa: PT018  # the same words show it
        f"streamed, the answer is {streamed.text!r}; expected is Chinese that says "
        f"{', '.join(profile.model.terms)} (model.terms). Where the whole answer does, pieces were "
        "lost on the way: a proxy between here and the server?"
    )
    assert streamed.finish_reason in ("stop", "length"), (
        f"streamed, finish_reason is '{streamed.finish_reason}', expected 'stop' or 'length': the "
        "stream broke off; model-server.txt in the evidence says why"
    )


@pytest.mark.clause("model.streaming")
def test_streamed_text_is_the_same(streamed: Streamed, answer: Answer, profile: Profile) -> None:
    if not profile.model.reproducible:
        not_assessed("the server does not promise the same text twice (model.reproducible)")
    assert streamed.text == answer.text, (
        f"whole: {answer.text!r}\nstreamed: {streamed.text!r}\nBoth at temperature 0 with one "
        "seed. A piece lost on the way, or an engine that is not reproducible: then "
        "model.reproducible = false in the profile"
    )


@pytest.mark.clause("model.streaming")
def test_first_token_comes_before_the_last(streamed: Streamed, answer: Answer) -> None:
    assert streamed.first_token_seconds is not None, (
        "not one piece of the answer came, expected are several: model-server.txt in the evidence "
        "says what became of the request"
    )
    if answer.completion_tokens == 1:
        not_assessed("the answer is one token long: its first is its last")
    assert streamed.pieces > 1, (
        f"an answer of {answer.completion_tokens} tokens came in one piece, expected several: "
        "something between here and the server keeps it until it is whole"
    )
    assert streamed.first_token_seconds < streamed.seconds, (
        f"the first token came after {streamed.first_token_seconds} s, the last after "
        f"{streamed.seconds} s: all came at once at the end, so nothing was streamed; does a proxy "
        "keep them?"
    )


@pytest.fixture
def loaded(load: Load) -> Load:
    """The load, where the profile asks for one."""
    if not load.levels:
        not_assessed("the profile asks for no load (model.load)")
    return load


@pytest.mark.clause("model.load")
def test_no_request_fails_under_load(loaded: Load) -> None:
    said = [f"{one.failed} of {one.concurrent}: {one.error}" for one in loaded.levels if one.failed]
    assert not said, (
        "requests that were asked at once failed, expected none; of each level the first:\n"
        + "\n".join(said)
        + "\nThe question alone was answered: model-server.txt in the evidence says "
        "what the server made of these. Where time was too short: 'load' in [budget] of the profile"
    )


@pytest.mark.clause("model.load-after")
def test_server_lives_after_load(
    loaded: Load, model: Model, profile: Profile, lab_host: Host
) -> None:
    require_living(model, lab_host.paced(PATIENCE), "after the load", "model.load-after")


@pytest.mark.clause("model.load-after")
def test_gpu_memory_is_back_after_load(loaded: Load, guest: Guest) -> None:
    """vLLM takes its memory at the start, but for what PyTorch keeps of a first large batch."""
    before, after = loaded.memory_before, loaded.memory_after
    if before is None or after is None:
        not_assessed("nvidia-smi says [N/A] for memory.used of this GPU")
    total = sum(gpu.memory_total or 0 for gpu in guest.smi.gpus)
    more = max(KEPT, total // 100)
    assert after <= before + more, (
        f"{before} MiB of the GPU's memory were in use before the load and {after} MiB after it, "
        f"expected at most {more} more (1 %, or {KEPT} MiB): the server keeps memory for requests "
        "that have ended, or another process has come; 'nvidia-smi' in the guest names them"
    )


@pytest.mark.clause("model.gpu-memory")
def test_gpu_memory_in_use_rises(model: Model) -> None:
    before, after = model.memory_before, model.memory_after
    if before is None or after is None:
        not_assessed("nvidia-smi says [N/A] for memory.used of this GPU")
    assert after > before, (
        f"{before} MiB of the GPU's memory were in use before the server started, {after} MiB "
        "with the model loaded: the model is not on the GPU"
    )
    if model.idle:
        not_assessed(
            f"no memory of {', '.join(model.idle)} is in use, so the model is on other GPUs alone: "
            "--tensor-parallel-size in model.command divides it among so many"
        )


@pytest.mark.clause("model.errors")
@pytest.mark.parametrize("what", BAD_REQUESTS)
def test_bad_request_is_refused(model: Model, profile: Profile, lab_host: Host, what: str) -> None:
    from requests import Timeout

    patience = lab_host.paced(PATIENCE)
    url = f"{model.base_url}{chat.COMPLETIONS}"
    with surviving(model.end), replies.heard(f"a request ({what})", "model.errors"):
        try:
            body = chat.request(profile.model, **BAD_REQUESTS[what])
            response = chat.ask("POST", url, json=body, timeout=patience)
        except Timeout:
            pytest.fail(f"{what}: no refusal within {patience:g} s, so the server works on it")
    assert response.status_code in REFUSED, (
        f"{what}: answered with {response.status_code}, expected one of {REFUSED}: "
        f"{head(response.text, 500)}\n"
        "Another 4xx is a refusal of something else: of a missing key, or a proxy's. "
        "5xx: a request of anybody's runs into an error of the server's own (some versions of vLLM "
        "do so on an empty list of messages); model-server.txt has the traceback"
    )


@pytest.mark.clause("model.errors")
def test_server_lives_after_bad_requests(model: Model, profile: Profile, lab_host: Host) -> None:
    url = f"{model.base_url}{chat.COMPLETIONS}"
    patience = lab_host.paced(PATIENCE)
    with surviving(model.end), replies.heard("what is no JSON at all", "model.errors"):
        refused = chat.ask("POST", url, data="{not json", timeout=patience)
    assert refused.status_code in REFUSED, (
        f"what is no JSON at all is answered with {refused.status_code}, expected one of "
        f"{REFUSED}: anybody's request runs into an error of the server's own; model-server.txt "
        "has the traceback"
    )
    require_living(model, patience, "after bad requests", "model.errors")


def require_living(model: Model, patience: float, when: str, clause: str) -> None:
    """Fail where the server is not well, or has its model no more; `when` says after what."""
    with surviving(model.end), replies.heard(f"/health, {when},", clause):
        health = chat.ask("GET", f"{model.base_url}/health", timeout=patience)
        response = chat.ask("GET", f"{model.base_url}/v1/models", timeout=patience)
    assert health.status_code == 200, (
        f"{when} /health answers {health.status_code}, expected 200: "
        f"{head(health.text, 500)}; the engine has died behind its interface? model-server.txt in "
        "the evidence has its log"
    )
    assert all(name in response.text for name in model.served), (
        f"{when} /v1/models says {response.status_code}: {head(response.text, 500)}, "
        f"expected {model.served} as before; model-server.txt in the evidence has the log"
    )


@pytest.mark.clause("guest.kernel-log")
def test_guests_kernel_tells_of_no_error(model: Model, guest: Guest, run: Run[Profile]) -> None:
    found = guest.errors(run)
    if found is None:
        not_assessed(kernel_log.UNREADABLE)
    assert not found, kernel_log.told("the guest", found)


@pytest.mark.clause("platform.kernel-log")
def test_hosts_kernel_told_of_no_error_meanwhile(model: Model, run: Run[Profile]) -> None:
    found = host_log.errors(run)
    if found is None:
        not_assessed(kernel_log.UNREADABLE)
    assert not found, kernel_log.told("the host", found)
