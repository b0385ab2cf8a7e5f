"""Pages of refusals in words for visitors, where the code tells whoever wrote the site what to change."""

from __future__ import annotations

from collections.abc import Mapping

from dodai.core.refusal import VisitorWords
from dodai.core.text import Text

OF_THE_SITE = VisitorWords(
    Text("This form could not be accepted", "このフォームは受け付けられませんでした"),
    Text(
        "It is a fault of this site, not yours. Tell whoever runs it the request id below",
        "原因はこのサイトにあります。下のリクエスト ID を添えてサイトの管理者にお知らせください",
    ),
)
VISITOR_WORDS: Mapping[str, VisitorWords] = {
    "DOD155": OF_THE_SITE,
    "DOD157": VisitorWords(
        Text("The form did not arrive in time", "フォームが時間内に届きませんでした"),
        Text("Check your connection and send the form again", "接続を確認して、もう一度フォームを送ってください"),
    ),
    "DOD159": OF_THE_SITE,
    "DOD160": OF_THE_SITE,
    "DOD163": OF_THE_SITE,
    "DOD164": OF_THE_SITE,
}
