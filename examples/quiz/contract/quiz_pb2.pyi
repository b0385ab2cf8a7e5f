from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListQuestionsRequest(_message.Message):
    __slots__ = ("lang", "topic")
    LANG_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    lang: str
    topic: str
    def __init__(self, lang: _Optional[str] = ..., topic: _Optional[str] = ...) -> None: ...

class QuestionRef(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class NextQuestionRequest(_message.Message):
    __slots__ = ("lang", "after")
    LANG_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    lang: str
    after: int
    def __init__(self, lang: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class Question(_message.Message):
    __slots__ = ("id", "lang", "topic", "prompt", "choices", "mine", "starred", "answered", "answered_right", "correct", "explanation", "from_house")
    ID_FIELD_NUMBER: _ClassVar[int]
    LANG_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    MINE_FIELD_NUMBER: _ClassVar[int]
    STARRED_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_RIGHT_FIELD_NUMBER: _ClassVar[int]
    CORRECT_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    FROM_HOUSE_FIELD_NUMBER: _ClassVar[int]
    id: int
    lang: str
    topic: str
    prompt: str
    choices: _containers.RepeatedScalarFieldContainer[str]
    mine: bool
    starred: bool
    answered: int
    answered_right: int
    correct: int
    explanation: str
    from_house: bool
    def __init__(self, id: _Optional[int] = ..., lang: _Optional[str] = ..., topic: _Optional[str] = ..., prompt: _Optional[str] = ..., choices: _Optional[_Iterable[str]] = ..., mine: _Optional[bool] = ..., starred: _Optional[bool] = ..., answered: _Optional[int] = ..., answered_right: _Optional[int] = ..., correct: _Optional[int] = ..., explanation: _Optional[str] = ..., from_house: _Optional[bool] = ...) -> None: ...

class QuestionList(_message.Message):
    __slots__ = ("questions",)
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    questions: _containers.RepeatedCompositeFieldContainer[Question]
    def __init__(self, questions: _Optional[_Iterable[_Union[Question, _Mapping]]] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("attempt", "question_id", "position")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    attempt: str
    question_id: int
    position: int
    def __init__(self, attempt: _Optional[str] = ..., question_id: _Optional[int] = ..., position: _Optional[int] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("question", "position", "right")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    question: Question
    position: int
    right: bool
    def __init__(self, question: _Optional[_Union[Question, _Mapping]] = ..., position: _Optional[int] = ..., right: _Optional[bool] = ...) -> None: ...

class Draft(_message.Message):
    __slots__ = ("id", "lang", "topic", "prompt", "choices", "correct", "explanation")
    ID_FIELD_NUMBER: _ClassVar[int]
    LANG_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    CORRECT_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    id: int
    lang: str
    topic: str
    prompt: str
    choices: _containers.RepeatedScalarFieldContainer[str]
    correct: int
    explanation: str
    def __init__(self, id: _Optional[int] = ..., lang: _Optional[str] = ..., topic: _Optional[str] = ..., prompt: _Optional[str] = ..., choices: _Optional[_Iterable[str]] = ..., correct: _Optional[int] = ..., explanation: _Optional[str] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("field", "what")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    field: str
    what: str
    def __init__(self, field: _Optional[str] = ..., what: _Optional[str] = ...) -> None: ...

class Problems(_message.Message):
    __slots__ = ("problems",)
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    def __init__(self, problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ...) -> None: ...

class Star(_message.Message):
    __slots__ = ("question_id", "starred")
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    STARRED_FIELD_NUMBER: _ClassVar[int]
    question_id: int
    starred: bool
    def __init__(self, question_id: _Optional[int] = ..., starred: _Optional[bool] = ...) -> None: ...

class MyPageRequest(_message.Message):
    __slots__ = ("lang",)
    LANG_FIELD_NUMBER: _ClassVar[int]
    lang: str
    def __init__(self, lang: _Optional[str] = ...) -> None: ...

class Name(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ClearHistoryRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Day(_message.Message):
    __slots__ = ("date", "answered", "right")
    DATE_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    date: str
    answered: int
    right: int
    def __init__(self, date: _Optional[str] = ..., answered: _Optional[int] = ..., right: _Optional[int] = ...) -> None: ...

class Past(_message.Message):
    __slots__ = ("question_id", "prompt", "right", "answered_at", "deleted")
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_AT_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    question_id: int
    prompt: str
    right: bool
    answered_at: int
    deleted: bool
    def __init__(self, question_id: _Optional[int] = ..., prompt: _Optional[str] = ..., right: _Optional[bool] = ..., answered_at: _Optional[int] = ..., deleted: _Optional[bool] = ...) -> None: ...

class MyPage(_message.Message):
    __slots__ = ("name", "answered", "right", "days", "past", "mine", "starred")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    PAST_FIELD_NUMBER: _ClassVar[int]
    MINE_FIELD_NUMBER: _ClassVar[int]
    STARRED_FIELD_NUMBER: _ClassVar[int]
    name: str
    answered: int
    right: int
    days: _containers.RepeatedCompositeFieldContainer[Day]
    past: _containers.RepeatedCompositeFieldContainer[Past]
    mine: _containers.RepeatedCompositeFieldContainer[Question]
    starred: _containers.RepeatedCompositeFieldContainer[Question]
    def __init__(self, name: _Optional[str] = ..., answered: _Optional[int] = ..., right: _Optional[int] = ..., days: _Optional[_Iterable[_Union[Day, _Mapping]]] = ..., past: _Optional[_Iterable[_Union[Past, _Mapping]]] = ..., mine: _Optional[_Iterable[_Union[Question, _Mapping]]] = ..., starred: _Optional[_Iterable[_Union[Question, _Mapping]]] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("question_id", "reason")
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    question_id: int
    reason: str
    def __init__(self, question_id: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("report_id", "decision")
    REPORT_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    report_id: int
    decision: str
    def __init__(self, report_id: _Optional[int] = ..., decision: _Optional[str] = ...) -> None: ...

class Done(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
