import pytest

from books.analysis.text import MAX_SENTENCE_WORDS, Text, count_words, split_sentences


@pytest.mark.parametrize(
    ("paragraph", "sentences"),
    [
        ("Mr. Holmes sat. Dr. Watson stood.", ["Mr. Holmes sat.", "Dr. Watson stood."]),
        ("Lord St. Simon left. He was late.", ["Lord St. Simon left.", "He was late."]),
        ("I met J. R. Small in town. It rained.", ["I met J. R. Small in town.", "It rained."]),
        ("“Come!” she cried. “Now!”", ["“Come!” she cried.", "“Now!”"]),
        ("Wait... and then? Yes.", ["Wait... and then?", "Yes."]),
        ("下雨了。他回家了。", ["下雨了。", "他回家了。"]),
        ("no punctuation at all", ["no punctuation at all"]),
        ("", []),
    ],
)
def test_split_sentences_paragraph_ends_where_readers_do(paragraph: str, sentences: list[str]) -> None:
    assert split_sentences(paragraph) == sentences


def test_sentences_without_punctuation_are_cut() -> None:
    sentences = Text("word " * 1000).sentences

    assert max(count_words(sentence.text) for sentence in sentences) == MAX_SENTENCE_WORDS


def test_passages_short_paragraphs_are_joined() -> None:
    talk = Text("\n\n".join(["“Yes,” said Anna."] * 100))

    assert 1 < len(talk.passages) < 10
    assert sum(map(count_words, talk.passages)) == talk.length.words


def test_passages_long_paragraph_is_divided() -> None:
    assert len(Text("The rain fell on the town all day. " * 200).passages) > 3


def test_length_counts_what_is_there() -> None:
    length = Text("One two three. Four five?\n\nSix.").length

    assert (length.words, length.sentences, length.reading_minutes) == (6, 3, 1)


def test_length_script_without_spaces_counts_each_sign() -> None:
    assert Text("福尔摩斯说").length.words == 5
