"""The backend over gRPC: who may do what, what is stored once, and what a failing database means."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import grpc
import psycopg
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.quiz.calls import Caller, calling, draft, refused
from tests.quiz.stack import Stack, running_quiz
from tests.support.wait import until

from backend.faults import STATUS_OF
from contract import quiz_pb2 as pb
from contract.quiz_pb2_grpc import QuizStub

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def caller(quiz: Stack) -> Iterator[Caller]:
    with calling(quiz) as found:
        yield found


def health(stack: Stack) -> int:
    with grpc.insecure_channel(stack.addresses["backend"]) as channel:
        reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        return reply.status


def test_author_alone_sees_the_answer_before_it_is_given(caller):
    """Anybody else gets prompt and choices, and no way to look the answer up."""
    with caller.as_user("hanako") as quiz:
        made = quiz.CreateQuestion(draft())
        assert quiz.GetQuestion(made).correct == 1
    for somebody in ("taro", None):
        with caller.as_user(somebody) as quiz:
            seen = quiz.GetQuestion(made)
            assert (seen.correct, seen.explanation, seen.mine) == (0, "", False)
            assert list(seen.choices) == list(draft().choices)


@pytest.mark.parametrize(("user", "code"), [("taro", StatusCode.PERMISSION_DENIED), (None, StatusCode.UNAUTHENTICATED)])
def test_only_the_author_changes_or_deletes_a_question(caller, user, code):
    """Another user is refused, nobody is asked to sign in, and the question stays as it was."""
    with caller.as_user("hanako") as quiz:
        made = quiz.CreateQuestion(draft())
    with caller.as_user(user) as quiz:
        with refused(code):
            quiz.UpdateQuestion(draft("What is not yours to change?", made.id))
        with refused(code):
            quiz.DeleteQuestion(made)
    with caller.as_user("hanako") as quiz:
        assert quiz.GetQuestion(made).prompt == draft().prompt


def test_questions_of_the_house_belong_to_nobody(caller):
    """A user cannot take over what came with the application."""
    with caller.as_user("hanako") as quiz:
        house = next(q for q in quiz.ListQuestions(pb.ListQuestionsRequest(lang="en")).questions if q.from_house)
        with refused(StatusCode.PERMISSION_DENIED):
            quiz.DeleteQuestion(pb.QuestionRef(id=house.id))


def test_user_without_proof_is_nobody(quiz):
    """A client that writes `x-user-id` itself is served like somebody who is not signed in."""
    with grpc.insecure_channel(quiz.addresses["backend"]) as channel, refused(StatusCode.UNAUTHENTICATED):
        QuizStub(channel).CreateQuestion(draft(), metadata=(("x-user-id", "hanako"),))


def test_same_attempt_is_stored_once_and_gets_the_same_verdict(caller, quiz):
    """A form that is sent twice, at the same time even, is one answer; the first choice stands."""
    with caller.as_user("hanako") as stub:
        made = stub.CreateQuestion(draft())
    attempt = str(uuid4())

    def answer(position: int) -> pb.Verdict:
        with caller.as_user(None) as stub:
            return stub.AnswerQuestion(pb.Attempt(attempt=attempt, question_id=made.id, position=position))

    first = answer(1)
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(answer, (1, 2, 3, 4)))
    assert first.right
    assert {(verdict.position, verdict.right) for verdict in verdicts} == {(1, True)}
    with psycopg.connect(quiz.database) as connection:
        stored = connection.execute("SELECT count(*) FROM answers WHERE question_id = %s", (made.id,)).fetchone()
    assert stored == (1,)


def test_attempt_of_another_question_is_not_found(caller):
    """An attempt names one question; it cannot be used to read the verdict of another."""
    with caller.as_user("hanako") as stub:
        one, other = stub.CreateQuestion(draft()), stub.CreateQuestion(draft())
        attempt = str(uuid4())
        stub.AnswerQuestion(pb.Attempt(attempt=attempt, question_id=one.id, position=2))
        with refused(StatusCode.NOT_FOUND):
            stub.AnswerQuestion(pb.Attempt(attempt=attempt, question_id=other.id, position=2))


def test_stored_answer_is_answered_for_even_after_the_question_is_deleted(caller):
    """The same form again, after the author took the question away, shows the same verdict; a new one finds nothing."""
    with caller.as_user("hanako") as quiz:
        made = quiz.CreateQuestion(draft())
        attempt = pb.Attempt(attempt=str(uuid4()), question_id=made.id, position=1)
        first = quiz.AnswerQuestion(attempt)
        quiz.DeleteQuestion(made)
        again = quiz.AnswerQuestion(attempt)
        assert (again.right, again.question.prompt) == (first.right, first.question.prompt)
        with refused(StatusCode.NOT_FOUND):
            quiz.AnswerQuestion(pb.Attempt(attempt=str(uuid4()), question_id=made.id, position=1))


def test_deleted_question_is_gone_and_stays_in_the_history_of_who_answered(caller):
    """Deleting hides: what people did is not rewritten."""
    with caller.as_user("hanako") as quiz:
        made = quiz.CreateQuestion(draft("Which of these is about to go?"))
    with caller.as_user("jiro") as quiz:
        quiz.AnswerQuestion(pb.Attempt(attempt=str(uuid4()), question_id=made.id, position=1))
    with caller.as_user("hanako") as quiz:
        quiz.DeleteQuestion(made)
        with refused(StatusCode.NOT_FOUND):
            quiz.GetQuestion(made)
        with refused(StatusCode.NOT_FOUND):
            quiz.AnswerQuestion(pb.Attempt(attempt=str(uuid4()), question_id=made.id, position=1))
    with caller.as_user("jiro") as quiz:
        page = quiz.GetMyPage(pb.MyPageRequest(lang="en"))
        assert [(past.prompt, past.right, past.deleted) for past in page.past] == [
            ("Which of these is about to go?", True, True)
        ]
        assert [(day.answered, day.right) for day in page.days] == [(1, 1)]


def test_clearing_the_history_takes_the_name_off_every_answer(caller):
    """The answers stay countable, the person is gone from them."""
    with caller.as_user("saburo") as quiz:
        made = quiz.CreateQuestion(draft())
        quiz.AnswerQuestion(pb.Attempt(attempt=str(uuid4()), question_id=made.id, position=1))
        quiz.ClearHistory(pb.ClearHistoryRequest())
        page = quiz.GetMyPage(pb.MyPageRequest(lang="en"))
        assert (page.answered, list(page.past)) == (0, [])
        assert quiz.GetQuestion(made).answered == 1


def test_next_question_is_one_that_was_not_answered_yet(caller):
    """A user is led through every question before one comes back."""
    with caller.as_user("shiro") as quiz:
        everything = {question.id for question in quiz.ListQuestions(pb.ListQuestionsRequest(lang="ja")).questions}
        seen: list[int] = []
        after = 0
        for _ in everything:
            after = quiz.NextQuestion(pb.NextQuestionRequest(lang="ja", after=after)).id
            quiz.AnswerQuestion(pb.Attempt(attempt=str(uuid4()), question_id=after, position=1))
            seen.append(after)
        assert set(seen) == everything
        assert quiz.NextQuestion(pb.NextQuestionRequest(lang="ja", after=after)).id != after


def test_edit_replaces_every_choice_and_moves_the_right_one(caller):
    """The index that allows one correct choice holds at every moment of an edit."""
    with caller.as_user("hanako") as quiz:
        made = quiz.CreateQuestion(draft())
        changed = draft("Which of these is a lake?", made.id)
        changed.correct = 4
        changed.choices[0] = "The Kamo river"
        quiz.UpdateQuestion(changed)
        seen = quiz.GetQuestion(made)
    assert (seen.correct, list(seen.choices)) == (4, list(changed.choices))


def test_every_problem_of_a_draft_comes_back_at_once(caller):
    """The trailing metadata says which field and what is wrong, and still carries the request id."""
    with caller.as_user("hanako") as quiz, pytest.raises(grpc.RpcError) as refusal:
        quiz.CreateQuestion(pb.Draft(lang="en", topic="", prompt="short", choices=["a", "a", "", "d"], correct=9))
    assert refusal.value.code() is StatusCode.INVALID_ARGUMENT
    trailing = dict(refusal.value.trailing_metadata())
    problems = pb.Problems.FromString(trailing["quiz-problems-bin"]).problems
    assert {(problem.field, problem.what) for problem in problems} == {
        ("topic", "unknown"),
        ("prompt", "short"),
        ("choice2", "same"),
        ("choice3", "missing"),
        ("correct", "missing"),
    }
    assert trailing["x-request-id"]
    assert trailing["x-release"] == "r1"


@pytest.mark.parametrize("text", ["\x00 in a question", "a\x00b"])
def test_what_no_column_can_hold_is_the_callers_fault(caller, text):
    """A NUL is refused with INVALID_ARGUMENT; it is not an accident of ours."""
    with caller.as_user("hanako") as quiz:
        with refused(StatusCode.INVALID_ARGUMENT):
            quiz.CreateQuestion(draft(text * 8))
        with refused(StatusCode.INVALID_ARGUMENT):
            quiz.SaveName(pb.Name(name=text))


def test_report_is_decided_once(caller, quiz):
    """The same decision again changes nothing, another one is refused, an unknown report is not found."""
    with caller.as_user("hanako") as stub:
        made = stub.CreateQuestion(draft())
        stub.ReportQuestion(pb.Report(question_id=made.id, reason="wrong"))
    with psycopg.connect(quiz.database) as connection:
        (report,) = connection.execute("SELECT id FROM reports WHERE question_id = %s", (made.id,)).fetchone()
    with caller.as_user(None) as stub:
        stub.DecideReport(pb.Decision(report_id=report, decision="withdraw"))
        stub.DecideReport(pb.Decision(report_id=report, decision="withdraw"))
        with refused(StatusCode.FAILED_PRECONDITION):
            stub.DecideReport(pb.Decision(report_id=report, decision="keep"))
        with refused(StatusCode.NOT_FOUND):
            stub.DecideReport(pb.Decision(report_id=report + 1000, decision="keep"))
        with refused(StatusCode.NOT_FOUND):
            stub.GetQuestion(made)


def test_lock_held_by_somebody_else_is_unavailable_within_its_bound(caller, quiz):
    """A row that stays locked does not hold the caller for ever."""
    with caller.as_user("hanako") as stub:
        made = stub.CreateQuestion(draft())
        with psycopg.connect(quiz.database) as connection:
            connection.execute("SELECT FROM questions WHERE id = %s FOR UPDATE", (made.id,))
            with refused(StatusCode.UNAVAILABLE):
                stub.DeleteQuestion(made)
        stub.DeleteQuestion(made)


def test_database_that_is_gone_is_unavailable_and_the_backend_stops_serving(quiz_database, tmp_path):
    """Health tells the truth at once, and again when the database is back; the process stays."""
    with running_quiz(quiz_database, tmp_path, "backend") as stack, calling(stack) as caller:
        assert health(stack) == SERVING
        name = psycopg.conninfo.conninfo_to_dict(quiz_database)["dbname"]
        with psycopg.connect(quiz_database, dbname="postgres", autocommit=True) as admin:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            with caller.as_user(None) as stub, refused(StatusCode.UNAVAILABLE):
                stub.ListQuestions(pb.ListQuestionsRequest(lang="en"))
            assert health(stack) == NOT_SERVING
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        until(lambda: health(stack) == SERVING, lambda: "the backend serves again")


def test_sigterm_lets_calls_finish_and_leaves_with_0(quiz_database, tmp_path):
    """A call that was running gets its answer; a deploy loses none."""
    with running_quiz(quiz_database, tmp_path, "backend") as stack, calling(stack) as caller:
        with caller.as_user("hanako") as stub:
            made = stub.CreateQuestion(draft())
        with ThreadPoolExecutor(1) as pool, psycopg.connect(quiz_database) as connection:
            connection.execute("SELECT FROM questions WHERE id = %s FOR UPDATE", (made.id,))

            def delete() -> pb.Done:
                with caller.as_user("hanako") as stub:
                    return stub.DeleteQuestion(made)

            running = pool.submit(delete)
            waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            with psycopg.connect(quiz_database, autocommit=True) as watcher:
                until(lambda: bool(watcher.execute(waits).fetchall()), lambda: "the call waits for the lock")
            stack.processes["backend"].child.terminate()
            connection.rollback()
            assert running.result(10) == pb.Done()
        process = stack.processes.pop("backend")
        assert process.child.wait(15) == 0, process.log.read_text()
        process.release()


def test_most_special_failure_of_the_database_decides():
    """The first row that fits is taken, so no row may hide behind a more general one before it."""
    for place, (kind, _) in enumerate(STATUS_OF):
        assert not any(issubclass(kind, earlier) for earlier, _ in STATUS_OF[:place])


def test_release_whose_migration_is_missing_does_not_serve_and_says_which(quiz_database, tmp_path):
    """The backend is NOT_SERVING and the web tier's `/readyz` closed until the migration is applied."""
    coming = "20990101000000"
    with running_quiz(quiz_database, tmp_path) as stack:
        stack.end("backend")
        backend = stack.start("backend", DODAI_REQUIRED_SCHEMA=f"20261005090000,{coming}")
        assert health(stack) == NOT_SERVING
        assert not stack.web_is_ready()
        assert f"1 migrations missing: `{coming}`" in backend.log.read_text()
        with psycopg.connect(quiz_database) as connection:
            connection.execute("INSERT INTO goose_db_version (version_id, is_applied) VALUES (%s, true)", (coming,))
        until(stack.web_is_ready, lambda: "web is ready again")
        assert health(stack) == SERVING
