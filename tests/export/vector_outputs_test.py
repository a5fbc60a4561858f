"""`tfrec-index` hands vectors to other services: as files, to FAISS, to Milvus."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from news_models import COLUMNS, write_items

from tfrec_zoo.export.version_folder import list_versions
from tfrec_zoo.item_index.item_index import ItemIndex

K = 40
SESSION = ["N3", "N4", "N5"]
NEW = {**dict.fromkeys(COLUMNS, ""), "NewsId": "new", "Published": "95000", "Title": "Red fox"}


def test_vectors_for_other_services(served, tmp_path, run_index):
    new = write_items(tmp_path / "new.tsv", [NEW])
    vectors = tmp_path / "vectors"
    flags = [f"--export={served}", f"--add={new}", "--now=96500", f"--vectors_to={vectors}"]
    code, printed, logged = run_index(*flags)
    assert (code, printed.out, list_versions(served)) == (0, "", [1])
    assert "wrote 41 vectors of 5 numbers" in logged
    found = ItemIndex.load(vectors)
    assert found.ids.tolist()[-2:] == ["N39", "new"]
    model = tf.saved_model.load(str(served / "1"))
    session = model.signatures["embed_session"](session_items=tf.constant([SESSION]))
    ids, scores = found.search(session["session_vector"].numpy(), K + 1)
    assert run_index(f"--export_dir={served}", f"--add={new}", "--now=96500")[0] == 0
    answer = tf.saved_model.load(str(served / "2")).signatures["recommend"](
        session_items=tf.constant([SESSION])
    )
    items = [item.decode() for item in answer["items"][0].numpy()][:38]
    assert [item for item in ids[0] if item not in SESSION] == items
    others = [score for item, score in zip(ids[0], scores[0], strict=True) if item not in SESSION]
    np.testing.assert_allclose(answer["scores"][0][:38], others, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("flag", "package"), [("faiss_to", "faiss"), ("milvus_to", "pymilvus")])
def test_a_missing_package_is_one_sentence(served, flag, package, tmp_path, monkeypatch, run_index):
    monkeypatch.setitem(sys.modules, package, None)
    code, printed, logged = run_index(f"--export={served}", f"--{flag}={tmp_path / 'x'}")
    assert code == 1 and f"--{flag}: {package} is needed" in printed.err
    assert "pip install" in printed.err


def test_faiss_finds_what_exact_search_finds(served, tmp_path, run_index):
    faiss = pytest.importorskip("faiss")
    path = tmp_path / "faiss"
    flags = [f"--export={served}", f"--faiss_to={path}", f"--vectors_to={tmp_path / 'vectors'}"]
    assert run_index(*flags)[0] == run_index(*flags, "--faiss_index=HNSW8")[0] == 0
    exact = ItemIndex.load(tmp_path / "vectors")
    assert (path / "ids.tsv").read_text().split() == exact.ids.tolist()
    _, numbers = faiss.read_index(str(path / "index.faiss")).search(exact.vectors[:5], 1)
    assert exact.ids[numbers[:, 0]].tolist() == exact.search(exact.vectors[:5], 1)[0][:, 0].tolist()
    code, printed, logged = run_index(*flags, "--faiss_index=nonsense")
    assert code == 1 and "FAISS makes no index 'nonsense'" in printed.err
    (path / "mine.txt").write_text("precious")
    code, printed, logged = run_index(*flags)
    assert code == 1 and "so it is not replaced" in printed.err


def test_milvus_has_the_items(served, tmp_path):
    pymilvus = pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    from tfrec_zoo.item_index.milvus_index import MilvusSearch

    uri = str(tmp_path / "items.db")
    # In a process of its own: milvus-lite goes on writing messages after the test.
    arguments = [f"--export={served}", f"--milvus_to={uri}", "--remove_id=N1"]
    command = [sys.executable, "-m", "tfrec_zoo.export.index", *arguments]
    subprocess.run(command, check=True, timeout=120)
    client = pymilvus.MilvusClient(uri)
    # A server keeps its collections loaded, the file of milvus-lite does not.
    client.load_collection("items")
    ids, _ = MilvusSearch(client, "items").search(np.ones((1, 5)), 50)
    assert len({*ids[0]} - {""}) == 39 and "N1" not in ids[0]
