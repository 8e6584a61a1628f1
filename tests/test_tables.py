"""Tables as they come: what is a name, what separates, what is missing, and that classes keep their text."""

import json

import numpy as np
import pandas as pd
import pytest

from fastbp import datasets
from fastbp.__main__ import BAD_INPUT, main

X = np.random.default_rng(0).normal(size=(40, 3)).round(3)
SIDES = np.where(X[:, 0] > 0, "up", "down")
COUNTS = (X[:, 0] > 0).astype(int)


@pytest.fixture
def load(tmp_path):
    def load(text, name="data.csv", **options):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return datasets.load(str(path), **options)

    return load


def written(columns, **options):
    return pd.DataFrame(columns).to_csv(**{"index": False} | options)


def with_target(target, columns=(0, 1, 2)):
    return pd.DataFrame(X, columns=list(columns)).assign(target=target)


@pytest.mark.parametrize(("target", "classes"), [(COUNTS, [0, 1]), (X[:, 0] * 3.3, None)])
@pytest.mark.parametrize("columns", [(0, 1, 2), (2019, 2020, 2021), (400.0, 402.5, 405.0), (3, 1, 2)])
def test_text_above_numbers_is_a_name_beside_names_that_are_numbers(load, target, classes, columns):
    data = load(written(with_target(target, columns)))
    assert (len(data.X), data.features, data.classes) == (40, [str(column) for column in columns], classes)


CANNOT_BE_KNOWN = [
    written(with_target(SIDES)), written(with_target(SIDES, (2019, 2020, 2021))),
    written(with_target(SIDES), index=True),
    written(pd.DataFrame(X).assign(**{"3": SIDES})), written(pd.DataFrame(X).assign(**{"3": COUNTS})), written(X),
    written(X[:, :1]), written(X, header=[2019, 2020, 2021]), written(X, header=[2, 4, 6]),
    "0,1,2\n3,4,5\n6,7,8\n", "0,1\n", "0,1,target\n", "5.1,bad,1.4,0\n4.9,3,1.4,1\n4,3,1,0\n",
    "1,x\n2,y\n3,y\n4,z\n5,z\n", "1,2\n3,b\n4,b\n", "x,up\n1,up\n2,down\n"]


@pytest.mark.parametrize("text", CANNOT_BE_KNOWN)
def test_what_may_be_either_is_refused(load, text):
    with pytest.raises(ValueError, match="may be names or a sample: say which it is with --header yes or --header no"):
        load(text)


@pytest.mark.parametrize("header", [None, [2019, 2020, 2021], [2, 4, 6]])
def test_what_may_be_either_is_refused_without_targets(load, header):
    text = written(X, header=header or True)
    with pytest.raises(ValueError, match="may be names or a sample"):
        load(text, with_targets=False)
    assert len(load(text, with_targets=False, names=text.splitlines()[0].split(",")[::-1]).X) == 40


@pytest.mark.parametrize("text", [written(with_target(SIDES)), written(pd.DataFrame(X).assign(**{"3": SIDES}))])
def test_what_may_be_either_is_said(load, text):
    data = load(text, header="yes")
    assert (len(data.X), data.features, data.classes) == (40, ["0", "1", "2"], ["down", "up"])
    assert len(load(text, header="no").X) == 41
    name = text.splitlines()[0].split(",")[-1]
    if name == "target":  # a column that is called so has to have the name
        assert len(load(text, target=name).X) == 40


@pytest.mark.parametrize(("text", "rows"), [
    (written(with_target(SIDES), header=False), 40), (written(with_target(COUNTS), header=False), 40),
    (written(X, header=False), 40), ("5.1,3.5,1.4,0.2\n1,2,3,4\n", 2), ("1,2,3\n4,5,6\n7,8,9\n", 3),
    ("0,0,0,1\n0,1,0,0\n", 2), ("0.0,1.0,2.0\n3.0,4.0,5.0\n", 2), ("0,1,up\n2,3,up\n4,5,down\n", 3),
    ("1,2\n2,2b\n3,2\n4,2b\n", 4), ("True,x\nFalse,x\nTrue,y\n", 3)])
def test_samples_without_names_stay_readable(load, text, rows):
    data = load(text)
    assert (len(data.X), data.features) == (rows, None)


def test_one_sample_to_predict_is_a_sample(load):
    assert load("1,2\n", with_targets=False).X.tolist() == [[1, 2]]
    assert load("5.1,3.5\n", with_targets=False).features is None


@pytest.mark.parametrize("begin", [
    "a,b,kind\n", '"a","b","kind"\n', "\ufeffa,b,kind\n", "# a,b,kind\n", "# one\n# two, lines\na,b,kind\n",
    "\n\na,b,kind\n", ",,\na,b,kind\n", "a,b,kind,\n", "sep=,\na,b,kind\n"])
@pytest.mark.parametrize("rows", ["1,2,x\n3,4,y\n", "1,2,x,\n3,4,y,\n", "1,2,x\n\n3,4,y\n\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_surrounds_a_table(load, begin, rows, end):
    data = load((begin + rows).replace("\n", end), header="auto")
    assert (data.X.tolist(), data.features, data.classes) == ([[1, 2], [3, 4]], ["a", "b"], ["x", "y"])


def test_a_sign_alone_is_a_name(load):
    assert load("#,b,kind\n1,2,x\n3,4,y\n").features == ["#", "b"]


def test_delimiters_at_the_ends_of_rows_without_names(load):
    data = load("1,2,x,\n3,4,y,\n5,6,x,\n")
    assert (data.X.tolist(), data.y.tolist()) == ([[1, 2], [3, 4], [5, 6]], [0, 1, 0])


def test_a_missing_first_value_is_no_name(load):
    for word in ("NA", "?", ""):
        with pytest.raises(ValueError, match="row 1, column '0' is missing"):
            load(f"{word},2,x\n1,2,x\n3,2,y\n")


@pytest.mark.parametrize(("fields", "classes"), [
    (["007", "012", "007"], ["007", "012"]), (["1", "1.0", "2"], ["1", "1.0", "2"]), (["10", "9", "-1"], [-1, 9, 10]),
    (["10.0", "9.0", "9.0"], ["9.0", "10.0"]), (["+1", "-1", "-1"], ["-1", "+1"]),
    (["TRUE", "FALSE"], ["FALSE", "TRUE"]),
    (["1e5", "2E5"], ["1e5", "2E5"]), (["1.00e+00", "0.00e+00"], [0, 1]), (["1", "2b", "1"], ["1", "2b"]),
    (['" x "', "x ", "y"], ["x", "y"]), (["12345678901234567890123", "5"], [5, 12345678901234567890123])])
def test_classes_keep_their_text(load, fields, classes):
    data = load("a,kind\n" + "".join(f"{i},{field}\n" for i, field in enumerate(fields)))
    assert data.classes == classes
    names = [field.strip('" ') for field in fields]
    if isinstance(classes[0], int):
        names = [int(name) if name.lstrip("-").isdecimal() else int(float(name)) for name in names]
    assert [data.classes[label] for label in data.y] == names


def test_codes_are_classes_however_many(load):
    codes = [f"{i % 60:05d}" for i in range(200)]
    data = load("a,zip\n" + "".join(f"{i},{code}\n" for i, code in enumerate(codes)))
    assert data.classes == sorted(set(codes))
    assert load("a,n\n" + "".join(f"{i},{i % 60}\n" for i in range(200))).classes is None


@pytest.mark.parametrize("word", ["NA", "None", "nan", "null", "N/A", "?"])
def test_words_for_what_is_missing_may_be_classes(load, word):
    text = f"a,kind\n1,EU\n2,{word}\n"
    with pytest.raises(ValueError, match=r"row 2, column 'kind' is .*stands for a missing target.*--na-values"):
        load(text)
    assert set(load(text, na_values=()).classes) == {"EU", word}
    assert set(load(text, na_values=["missing"]).classes) == {"EU", word}
    with pytest.raises(ValueError, match="'EU', which stands for a missing target"):
        load(text, na_values=["EU"])
    with pytest.raises(ValueError, match="row 2, column 'kind' is missing"):
        load("a,kind\n1,EU\n2, \n", na_values=())
    with pytest.raises(TypeError, match="na_values is 'NA', expected a sequence of words"):
        load(text, na_values="NA")


@pytest.mark.parametrize(("text", "name", "advice"), [
    ("a;b;k\n1,5;2,5;x\n3,5;4,5;y\n", "d.csv", "pass --delimiter ';' and --decimal ','$"),
    ("1,5;2,5;x\n3,5;4,5;y\n", "d.csv", "pass --delimiter ';' and --decimal ','"),
    ("1,5;0\n2,5;1\n2,6;1\n", "d.csv", "pass --delimiter ';' and --decimal ','"),
    ("a;b\n1;2\n", "d.csv", "2 columns with ';': pass --delimiter ';'$"),
    ("a,b\n1,2\n", "d.tsv", "pass --delimiter ','$"),
    ("a\tb\n1\t2\n", "d.csv", "pass --delimiter 'tab'$"), ("a|b\n1|2\n", "d.csv", r"pass --delimiter '\|'$"),
    ("a b\n1 2\n", "d.csv", "pass --delimiter ' '$"), ("a\tk\n1,5\tx\n2\ty\n", "d.tsv", "'1,5'.*pass --decimal ','"),
    ('a,k\n"1,5",x\n2,y\n', "d.csv", "column 'a' is '1,5'.*pass --decimal ','"),
    ('a,k\n1,"1,5"\n2,"2,5"\n', "d.csv", "column 'k' is '1,5'.*pass --decimal ','")])
def test_other_delimiters_and_decimals_are_named(load, text, name, advice):
    with pytest.raises(ValueError, match=advice):
        load(text, name)


@pytest.mark.parametrize(("text", "options"), [
    ("a;b;k\n1,5;2;3,5\n3;4,5;4\n", {"delimiter": ";", "decimal": ","}),
    ("a|b|k\n1.5|2|3.5\n3|4.5|4\n", {"delimiter": "|"}),
    ("a\tb\tk\n1,5\t2\t3,5\n3\t4,5\t4\n", {"delimiter": "tab", "decimal": ","}),
    ("a b   k\n1.5 2 3.5\n 3 4.5  4\n", {"delimiter": " "})])
def test_delimiters_and_decimals(load, text, options):
    data = load(text, **options)
    assert (data.X.tolist(), data.y.tolist(), data.features) == ([[1.5, 2], [3, 4.5]], [3.5, 4], ["a", "b"])


def test_a_delimiter_that_is_given_is_taken(load):
    text = "n,k\n1,x;y\n2,y;z\n"
    assert load(text).classes == ["x;y", "y;z"]
    assert load("1,5;0\n2,5;1\n2,6;1\n", delimiter=",", header="no").classes == ["5;0", "5;1", "6;1"]


@pytest.mark.parametrize(("text", "options", "words"), [
    ("a,k\n1,x\n", {"delimiter": "::"}, "delimiter is '::', expected one character"),
    ("a,k\n1,x\n", {"delimiter": "a"}, "is 'a'"),
    ("a,k\n1,x\n", {"decimal": ","}, "decimal and delimiter are both ','.*--delimiter ';'"),
    ("a,k\n1,x\n", {"decimal": "x"}, "decimal is 'x', expected one of"),
    ("a;k\n1.5;x\n1;y\n", {"delimiter": ";", "decimal": ","}, "'1.5', expected a number: leave out --decimal"),
    ("a;k\n1.234,5;x\n1;y\n", {"delimiter": ";", "decimal": ","}, "'1.234,5', expected a number"),
    ("a,k\n1,<0.1\n2,1.5\n", {}, "row 1, column 'k' is '<0.1', expected a number as in .*--task classification"),
    ("a,b\n".encode("utf-16"), {}, "UTF-8"),
    ("a,b\n1,2\n".encode("utf-16-le"), {}, "it has zero bytes; expected UTF-8"),
    ("1,2,x\n1,2,x\n1,2,3,x\n", {}, "Expected 3 fields in line 3, saw 4;"),
    ("1,2\n1,2,3\n", {}, "3 fields in row 2, expected 2"),
    ("a,b\n", {"header": "yes"}, "below its names 'a', 'b'")])
def test_refused(load, text, options, words):
    with pytest.raises(ValueError, match=words):
        load(text, **options)


def command(capsys, *arguments):
    status = main(list(arguments))
    output = capsys.readouterr()
    return status, output.out, output.err


@pytest.fixture
def model(tmp_path, monkeypatch, capsys):
    """Trained on columns that are called 0, 1 and 2, of which 0 alone matters, and the classes 007 and NA."""
    monkeypatch.chdir(tmp_path)
    kinds = np.where(X[:, 0] > 0, "007", "NA")
    (tmp_path / "data.csv").write_text(written(with_target(kinds), sep=";", decimal=","))
    options = ("--data data.csv --delimiter ; --decimal , --header yes --epochs 100 --learning-rate 0.01 --quiet "
               "--na-values")
    status, _, message = command(capsys, "train", *options.split(), "")
    assert (status, message) == (0, "")
    return "data.npz"


def test_tables_are_read_alike_by_train_and_predict(tmp_path, capsys, model):
    """A first row that has the names of the model's features needs no option."""
    for name, columns in (("new.csv", [0, 1, 2]), ("turned.csv", [2, 1, 0])):
        frame = pd.DataFrame([[-1.5, 0.5, 0.5], [1.5, 0.5, 0.5]])[columns]
        frame.to_csv(name, index=False, sep=";", decimal=",")
        status, output, _ = command(capsys, "predict", model, "--data", name, "--delimiter", ";", "--decimal", ",")
        assert (status, output.split()) == (0, ["prediction", "NA", "007"])
    status, _, message = command(capsys, "predict", model, "--data", "new.csv")
    assert status == BAD_INPUT
    assert "--delimiter ';' and --decimal ','" in message
    (tmp_path / "rows.csv").write_text("-1.5,0.5,0.5\n1.5,0.5,0.5\n")
    status, output, _ = command(capsys, "predict", model, "--data", "rows.csv", "--json")
    assert (status, json.loads(output)) == (0, {"predictions": ["NA", "007"]})
