"""Readers of stores, lists of images and published features, each with what makes a small file for it."""

import contextlib
import io
import tarfile

from stores.catalog import STORES as KINDS
from stores.interchange.catalog import FORMATS
from tests.fuzz.rows import Reader, write_all, write_files


def region_store(store, grids=False):
    def make(folder):
        from tests.stores.builders import make_grid, make_regions, make_store

        kind = make_grid if grids else (lambda image_id: make_regions(image_id, num_boxes=2, feature_dim=2))
        make_store(
            folder,
            [[kind("a"), kind("b")], [kind("c")]],
            store=store,
            failed=[(1, "d")],
            content="grid" if grids else "regions",
        )
        from stores.image_index import open_index
        from stores.manifest import read_manifest

        open_index(folder, read_manifest(folder))

    return make


def read_store(folder):
    from stores.errors import StoreError
    from stores.reading import open_store

    with contextlib.suppress(StoreError), open_store(folder) as store:
        for _ in store:
            pass
    with open_store(folder) as store:
        for image_id in list(store.image_ids):
            store.get(image_id)


def sentence_store(store):
    def make(folder):
        from annotations.records import Pointer
        from stores.manifest import Manifest, describe_shard, write_manifest
        from tests.stores.formats.test_sentence_store import CONFIGURATION, align, make_sentence

        pointer = Pointer(start=0, end=5, boxes_xyxy=((0, 0, 5, 5),), object_id="1", category="x")
        sentences = [make_sentence(f"s{number}", pointers=(pointer,)) for number in range(3)]
        path = folder / f"shard-00000{KINDS[store].suffix}"
        rows = KINDS[store].write_sentences(path, [align(sentences)], configuration=CONFIGURATION)
        entries = (describe_shard(path, rows),)
        write_manifest(folder, Manifest(content="sentences", store=store, configuration=CONFIGURATION, shards=entries))

    return make


def read_sentences(folder):
    from stores.sentence_reading import open_sentences

    for _ in open_sentences(folder):
        pass


def tar_file(folder):
    with tarfile.open(folder / "images.tar", "w") as archive:
        for number, kind in enumerate((tarfile.REGTYPE, tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE)):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.type, member.linkname, member.size = kind, "0.jpg", 3 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"abc"))


def list_images_of(name):
    def read(folder):
        from stores.images.listing import list_images

        images = list_images([str(folder / name)]).images
        assert len(list(images)) == len(images)

    return read


def foreign_rows(fill):
    def make(folder):
        from tests.stores.interchange import test_milvlg_npz, test_uniter_lmdb, test_vinvl_tsv
        from tests.stores.interchange.foreign_files import butd_line, lxmert_line

        match fill:
            case "lxmert-tsv":
                (folder / "x.tsv").write_bytes(lxmert_line() * 2)
            case "butd-tsv":
                (folder / "x.tsv").write_bytes(butd_line() * 2)
            case "vinvl-tsv":
                test_vinvl_tsv.write(folder, test_vinvl_tsv.found(attributes=["tall"], attr_scores=[0.5]))
            case "milvlg-npz":
                test_milvlg_npz.save(folder)
            case "uniter-lmdb of npz":
                test_uniter_lmdb.write(folder, {b"7.npz": test_uniter_lmdb.as_npz()})
            case "uniter-lmdb":
                test_uniter_lmdb.write(folder, {b"7.npz": test_uniter_lmdb.as_msgpack()})
            case _:
                write_files(FORMATS[fill].example)(folder)

    return make


def read_foreign(fill):
    def read(folder):
        from stores.interchange.catalog import recognise
        from stores.interchange.rows import RowError
        from tests.stores.interchange.foreign_files import SUPPLEMENT

        path = folder if fill.startswith(("milvlg", "uniter")) else next(folder.iterdir())
        foreign = FORMATS[recognise(path)]
        for row in list(foreign.list_rows(path)):
            if not row.fault:
                with contextlib.suppress(RowError):
                    foreign.read_row(path, row, SUPPLEMENT)

    return read


STORES = {
    **{
        f"{kind} in {store}": Reader(make=region_store(store, grids=kind == "grids"), read=read_store)
        for store in KINDS
        for kind in ("regions", "grids")
    },
    **{f"sentences in {store}": Reader(make=sentence_store(store), read=read_sentences) for store in KINDS},
    "list of images, .tar": Reader(make=tar_file, read=list_images_of("images.tar")),
    "list of images, .tsv": Reader(
        make=write_all(images__tsv=b"1\t/a/b.jpg\n2\tb.jpg\n"), read=list_images_of("images.tsv")
    ),
    "list of images, .csv": Reader(
        make=write_all(images__csv=b'1,"/a/b.jpg"\n2,b.jpg\n'), read=list_images_of("images.csv")
    ),
    "list of images, .txt": Reader(make=write_all(images__txt=b"/a/1.jpg\n2.jpg\n"), read=list_images_of("images.txt")),
    **{
        f"features of {fill}": Reader(make=foreign_rows(fill), read=read_foreign(fill))
        for fill in (*FORMATS, "uniter-lmdb of npz")
    },
}
