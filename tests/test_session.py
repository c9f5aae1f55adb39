"""What a visitor asked for last stays on screen, whichever answer is ready last."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from mri_models.page.session import Answer, Ordered, Session


class Visit:
    """One visitor of a page of a state and a text; `sent` is what the browser would get of an answer."""

    def __init__(self):
        with Ordered() as self.page:
            self.shown, self.text = gr.State(), gr.HTML()
            event = gr.Button().click(lambda: None, None, [self.shown, self.text])
        self.event = self.page.fns[event["id"]]
        self.session, self.kept = Session(), SessionState(self.page)

    def sent(self, answer: dict) -> list:
        sending = self.page.postprocess_data(self.event, answer, self.kept)
        with ThreadPoolExecutor(1) as thread:  # the browser's tests run an event loop in this one
            return thread.submit(asyncio.run, sending).result()

    def answer(self, asked: int) -> Answer:
        return Answer({self.shown: asked, self.text: f"image {asked}"}, partial(self.session.show, asked))


@pytest.fixture
def visit() -> Visit:
    return Visit()


def test_an_answer_replaces_an_earlier_one_and_never_a_later_one(visit: Visit):
    assert visit.sent(visit.answer(1)) == [None, "image 1"]
    assert visit.sent(visit.answer(3)) == [None, "image 3"]
    assert visit.sent(visit.answer(2)) == [gr.skip()] * 2
    assert visit.kept[visit.shown._id] == 3


def test_an_answer_that_is_overtaken_on_its_way_is_not_sent(visit: Visit):
    late = visit.answer(1)
    stands, late.stands = late.stands, lambda: stands() and bool(visit.session.show(2))  # 2 comes right after it
    assert visit.sent(late) == [gr.skip()] * 2


def test_what_belongs_to_an_image_goes_with_it(visit: Visit):
    visit.session.show(1)
    added = Answer({visit.text: "its map"}, partial(visit.session.shows, 1))
    assert visit.sent(added)[1] == "its map"
    visit.session.show(2)
    assert visit.sent(added) == [gr.skip()] * 2


def test_other_answers_are_gradio_s_own(visit: Visit):
    assert visit.sent({visit.text: "as ever"})[1] == "as ever"
