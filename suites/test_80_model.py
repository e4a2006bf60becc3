"""The model server is up, and answers the guide's question."""

import re

import pytest
import requests

from fixtures.container import Container
from fixtures.model import Answer, Model
from fixtures.schema import Profile
from harness.host import ANY

pytestmark = [pytest.mark.acceptance, pytest.mark.model, pytest.mark.order(80)]


@pytest.mark.clause("model.server")
def test_server_serves_the_model(model: Model, profile: Profile) -> None:
    assert profile.model.name in model.served


@pytest.mark.clause("model.server")
def test_server_answers_inside_the_container(container: Container, profile: Profile) -> None:
    url = f"http://127.0.0.1:{profile.model.port}/v1/models"
    result = container.run("curl", "-fsS", "--max-time", "60", url, ok=ANY, timeout=90)
    assert result.rc == 0, f"curl in the container ended with {result.rc}: {result.err}"
    assert profile.model.name in result.out


@pytest.mark.clause("model.answer")
def test_answer_is_complete(answer: Answer, profile: Profile) -> None:
    assert answer.model == profile.model.name
    assert answer.role == "assistant"
    assert answer.finish_reason in ("stop", "length")
    assert answer.completion_tokens > 0
    assert answer.total_tokens == answer.prompt_tokens + answer.completion_tokens


@pytest.mark.clause("model.answer")
def test_answer_is_to_the_question(answer: Answer, profile: Profile) -> None:
    # A model that only repeats the question has not answered it.
    said = answer.text.replace(profile.model.question, "")
    assert re.search(r"[\u4e00-\u9fff]", said), f"not a word of Chinese: {answer.text!r}"
    missing = [term for term in profile.model.terms if term not in said]
    assert not missing, f"the answer does not say {', '.join(missing)}: {answer.text!r}"


@pytest.mark.clause("model.errors")
def test_unknown_model_is_refused(model: Model) -> None:
    body = {"model": "no-such-model", "messages": [{"role": "user", "content": "?"}]}
    response = requests.post(f"{model.base_url}/v1/chat/completions", json=body, timeout=60)
    assert response.status_code == 404, f"{response.status_code}: {response.text}"
