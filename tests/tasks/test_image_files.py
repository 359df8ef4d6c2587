"""Each standard layout is read as it is written; what is missing or damaged is named; a pickle runs no code."""

import gzip
import os
import pickle

import image_layouts as layouts
import numpy as np
import pytest
import torch
from PIL import Image

from dualadam.tasks import TASKS
from dualadam.tasks.images.decode import decode, decoded_batches
from dualadam.tasks.images.idx import read_idx


def read_images(folder, name):
    entry = TASKS[name]
    return entry.read(entry.find(folder))


# name, writer, subfolder of the archive, sizes of training and test set, images (C, H, W), number of classes
ARRAYS = [
    ("fashion-mnist", layouts.fashion_mnist, "fashion-mnist", 40, 20, (1, 28, 28), 10),
    ("cifar10", layouts.cifar10, "cifar-10-batches-py", 100, 20, (3, 32, 32), 10),
    ("cifar100", layouts.cifar100, "cifar-100-python", 100, 100, (3, 32, 32), 100),
]
LISTS = [
    ("tiny-imagenet", layouts.tiny_imagenet, "tiny-imagenet-200", 12, 3, ("n02", "n01", "n03")),
    ("imagenet", layouts.imagenet, "imagenet", 12, 2, ("n01", "n02")),
    ("image-folder", layouts.imagenet, "", 12, 2, ("n01", "n02")),
]


@pytest.mark.parametrize(
    ("name", "write", "subfolder", "num_train", "num_test", "shape", "num_classes"), ARRAYS
)
def test_a_set_in_memory_has_the_shapes_types_and_labels_of_its_layout(
    tmp_path, name, write, subfolder, num_train, num_test, shape, num_classes
):
    write(tmp_path / subfolder)
    data = read_images(tmp_path, name)
    for images, labels, count in (
        (data.train_images, data.train_labels, num_train),
        (data.test_images, data.test_labels, num_test),
    ):
        assert (images.shape, images.dtype, labels.dtype) == (
            (count, *shape),
            torch.uint8,
            torch.int64,
        )
        assert (
            labels.bincount(minlength=num_classes).tolist() == [count // num_classes] * num_classes
        )
    assert len(data.classes) == num_classes
    assert read_images(tmp_path / subfolder, name).train_images.equal(
        data.train_images
    )  # the folder itself is as good as its parent


@pytest.mark.parametrize(("name", "write", "subfolder", "num_train", "num_test", "classes"), LISTS)
def test_a_set_on_disk_lists_its_files_with_the_label_of_their_folder(
    tmp_path, name, write, subfolder, num_train, num_test, classes
):
    write(tmp_path / subfolder)
    data = read_images(tmp_path, name)
    assert (len(data.train_files), len(data.test_files), data.classes) == (
        num_train,
        num_test,
        classes,
    )
    for file, label in zip(data.train_files, data.train_labels.tolist(), strict=True):
        assert file.name.startswith(classes[label])


def test_tiny_imagenets_test_labels_come_from_its_annotations(tmp_path):
    data = read_images(layouts.tiny_imagenet(tmp_path / "set"), "tiny-imagenet")
    assert [file.name for file in data.test_files] == ["val_2.JPEG", "val_0.JPEG", "val_1.JPEG"]
    assert data.test_labels.tolist() == [2, 0, 1]


def test_idx_files_are_read_uncompressed_too(tmp_path):
    plain = read_images(
        layouts.fashion_mnist(tmp_path / "plain", compressed=False), "fashion-mnist"
    )
    packed = read_images(layouts.fashion_mnist(tmp_path / "packed"), "fashion-mnist")
    assert plain.train_images.equal(packed.train_images)


def test_cifar_pixels_are_planes_of_red_green_and_blue(tmp_path):
    folder = layouts.cifar10(tmp_path / "set")
    data = np.zeros((1, 3072), np.uint8)
    data[0, 1024 + 32 * 5 + 7] = 200  # green, row 5, column 7
    layouts.write_pickle(folder / "test_batch", {b"labels": [4], b"data": data})
    assert read_images(folder, "cifar10").test_images.nonzero().tolist() == [[0, 1, 5, 7]]


def test_a_pickle_that_python_2_wrote_is_read(tmp_path):
    def short(text):
        return b"U" + bytes([len(text)]) + text

    # dictionary, labels [3], then an array as numpy 1 under Python 2 reduced it: str names, dtype flags 0 and 1, numpy.core
    head = (
        b"\x80\x02}("
        + short(b"labels")
        + b"]K\x03a"
        + short(b"data")
        + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
    )
    kind = (
        b"cnumpy\ndtype\n("
        + short(b"u1")
        + b"K\x00K\x01tR(K\x03"
        + short(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    body = (
        short(b"b")
        + b"\x87R(K\x01K\x01M\x00\x0c\x86"
        + kind
        + b"\x89T\x00\x0c\x00\x00"
        + bytes(range(256)) * 12
        + b"tbu."
    )
    folder = layouts.cifar10(tmp_path / "set")
    (folder / "test_batch").write_bytes(head + body)
    data = read_images(folder, "cifar10")
    assert data.test_labels.tolist() == [3]
    assert data.test_images.flatten().tolist() == list(range(256)) * 12


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = layouts.cifar10(tmp_path / "set")
    layouts.write_pickle(folder / "data_batch_2", {b"labels": [0], b"data": RunsCode()})
    with pytest.raises(
        ValueError, match=r"data_batch_2 must be a whole file.*mkdir has no place in it"
    ):
        read_images(folder, "cifar10")
    assert not (tmp_path / "ran").exists()


def cut(file, keep=0.6):
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])


# layout, name, what is done to which file, and the reason given
DAMAGE = [
    (
        layouts.fashion_mnist,
        "fashion-mnist",
        "train-images-idx3-ubyte.gz",
        cut,
        "not a complete gzip file",
    ),
    (
        layouts.fashion_mnist,
        "fashion-mnist",
        "t10k-labels-idx1-ubyte.gz",
        lambda f: f.write_bytes(b"<html>"),
        "not a complete gzip file",
    ),
    (
        layouts.fashion_mnist,
        "fashion-mnist",
        "t10k-images-idx3-ubyte.gz",
        lambda f: f.write_bytes(gzip.compress(b"\0\0\x0d\x03" + bytes(12))),
        "no idx file of unsigned bytes",
    ),
    (
        layouts.fashion_mnist,
        "fashion-mnist",
        "train-images-idx3-ubyte.gz",
        lambda f: f.write_bytes(gzip.compress(gzip.decompress(f.read_bytes())[:-5])),
        r"31355 bytes for shape \(40, 28, 28\)",
    ),
    (
        layouts.fashion_mnist,
        "fashion-mnist",
        "train-labels-idx1-ubyte.gz",
        lambda f: f.write_bytes(gzip.compress(layouts.idx_bytes(np.zeros(39, np.uint8)))),
        r"labels of shape \(39,\) for 40 images",
    ),
    (
        layouts.fashion_mnist,
        "fashion-mnist",
        "train-labels-idx1-ubyte.gz",
        lambda f: f.write_bytes(gzip.compress(layouts.idx_bytes(np.full(40, 10, np.uint8)))),
        "labels from 10 to 10 for 10 classes",
    ),
    (layouts.cifar10, "cifar10", "data_batch_3", cut, "not a complete pickle"),
    (
        layouts.cifar10,
        "cifar10",
        "test_batch",
        lambda f: f.write_bytes(b""),
        "not a complete pickle",
    ),
    (
        layouts.cifar10,
        "cifar10",
        "data_batch_5",
        lambda f: layouts.write_pickle(f, [1, 2]),
        "no dictionary with data, labels",
    ),
    (
        layouts.cifar100,
        "cifar100",
        "test",
        lambda f: layouts.write_pickle(f, {b"data": 0}),
        "no dictionary with data, fine_labels",
    ),
    (
        layouts.cifar100,
        "cifar100",
        "train",
        lambda f: layouts.write_pickle(
            f, {b"data": np.zeros((2, 3000), np.uint8), b"fine_labels": [0, 1]}
        ),
        r"images of type uint8 and shape \(2, 3000\)",
    ),
    (
        layouts.tiny_imagenet,
        "tiny-imagenet",
        "val/val_annotations.txt",
        lambda f: f.write_text("val_0.JPEG\tn99\n"),
        "a line without file name",
    ),
]


@pytest.mark.parametrize(("write", "name", "file", "damage", "reason"), DAMAGE)
def test_a_damaged_file_is_named_with_the_reason(tmp_path, write, name, file, damage, reason):
    folder = write(tmp_path / "set")
    damage(folder / file)
    with pytest.raises(
        ValueError, match=f"{file} must be a whole file of the data set, got .*{reason}"
    ):
        read_images(folder, name)


# layout, name, what is removed, and what the sentence says is expected
MISSING = [
    (
        layouts.fashion_mnist,
        "fashion-mnist",
        "t10k-labels-idx1-ubyte.gz",
        "must hold the file t10k-labels-idx1-ubyte.gz or t10k-labels-idx1-ubyte",
    ),
    (layouts.cifar10, "cifar10", "data_batch_4", "must hold the file data_batch_4"),
    (layouts.cifar100, "cifar100", "meta", "must hold the file meta"),
    (
        layouts.tiny_imagenet,
        "tiny-imagenet",
        "val/images/val_1.JPEG",
        "must hold the file val/images/val_1.JPEG",
    ),
    (
        layouts.imagenet,
        "imagenet",
        "val/n02/ILSVRC2012_val_1.JPEG",
        "val/n02 must hold the images of a class, got none",
    ),
]


@pytest.mark.parametrize(("write", "name", "file", "sentence"), MISSING)
def test_a_missing_file_is_named(tmp_path, write, name, file, sentence):
    folder = write(tmp_path / "set")
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=sentence):
        read_images(folder, name)


def test_a_validation_folder_with_unknown_classes_is_refused(tmp_path):
    folder = layouts.imagenet(tmp_path / "set")
    (folder / "val" / "n77").mkdir()
    with pytest.raises(ValueError, match=r"classes in .*val must be those in .*train, got n77"):
        read_images(folder, "imagenet")


def test_unsorted_validation_images_are_refused(tmp_path):
    folder = layouts.imagenet(tmp_path / "set")
    for file in (folder / "val").glob("*/*"):
        file.rename(folder / "val" / file.name)
        file.parent.rmdir()
    with pytest.raises(FileNotFoundError, match="val must hold one folder a class, got none"):
        read_images(folder, "imagenet")


def test_the_environment_names_the_folder_where_no_argument_does(tmp_path, monkeypatch):
    layouts.cifar10(tmp_path / "cifar-10-batches-py")
    monkeypatch.setenv("DUALADAM_DATA", str(tmp_path))
    assert TASKS["cifar10"].find(None) == tmp_path / "cifar-10-batches-py"
    with pytest.raises(FileNotFoundError, match="data must be a folder with"):
        TASKS["cifar10"].find(tmp_path / "elsewhere")  # the argument goes before the environment


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "fashion-mnist",
            r"data must be a folder with fashion-mnist/train-images-idx3-ubyte\.gz or .*dataset-fashion-mnist",
        ),
        (
            "cifar10",
            r"data must be a folder with cifar-10-batches-py/data_batch_1 .*cifar-10-python\.tar\.gz",
        ),
        (
            "cifar100",
            r"data must be a folder with cifar-100-python/train .*cifar-100-python\.tar\.gz",
        ),
        (
            "tiny-imagenet",
            r"data must be a folder with tiny-imagenet-200/wnids\.txt .*tiny-imagenet-200\.zip",
        ),
        ("imagenet", r"data must be a folder with imagenet/train .*image-net\.org"),
        ("image-folder", r"data must be a folder with train for image-folder.*train/CLASS"),
    ],
)
def test_without_data_one_sentence_says_what_is_expected_and_how_to_get_it(
    monkeypatch, tmp_path, name, sentence
):
    monkeypatch.delenv("DUALADAM_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=sentence) as none_given:
        TASKS[name].find(None)
    assert "got none (give --data FOLDER or set DUALADAM_DATA)" in str(none_given.value)
    with pytest.raises(FileNotFoundError, match=f"got {tmp_path}"):
        TASKS[name].find(tmp_path)


def test_an_image_of_the_right_size_is_decoded_to_its_own_pixels(tmp_path):
    layouts.write_image(tmp_path / "a.png", seed=1)
    expected = np.asarray(Image.open(tmp_path / "a.png")).transpose(2, 0, 1)
    assert (decode(tmp_path / "a.png", 64).numpy() == expected).all()


@pytest.mark.parametrize(
    ("size", "block", "suffix"),
    [
        ((320, 256), 8, "png"),
        ((256, 320), 8, "jpg"),
        ((2560, 1920), 320, "jpg"),
        ((40, 56), 8, "png"),
    ],
)
def test_the_middle_of_an_image_is_what_is_left_of_it_by_scaling_and_cutting(
    tmp_path, size, block, suffix
):
    file = tmp_path / f"a.{suffix}"
    layouts.write_image(file, seed=2, size=size, block=block)
    image = Image.open(file).convert("RGB")
    scale = 256 / min(image.size)
    scaled = image.resize([round(scale * side) for side in image.size], Image.Resampling.BILINEAR)
    left, top = (scaled.width - 224) / 2, (scaled.height - 224) / 2
    expected = np.asarray(scaled.crop((left, top, left + 224, top + 224)), dtype=float)
    found = decode(file, 224).permute(1, 2, 0).numpy().astype(float)
    # two roundings, and for the large JPEG its decoding at a fraction of the size: small against the blocks' contrast of about 85
    assert np.abs(found - expected).mean() < 4


def test_a_random_part_has_its_draws_place_and_the_number_of_threads_changes_nothing(tmp_path):
    data = read_images(layouts.imagenet(tmp_path / "set"), "imagenet")
    batches = [
        torch.tensor([3, 0, 7]),
        torch.tensor([11, 1, 2]),
        torch.tensor([4]),
        torch.tensor([5, 6]),
    ]

    def run(num_workers, seed):
        return list(
            decoded_batches(
                data.train_files, batches, 32, num_workers, torch.Generator().manual_seed(seed)
            )
        )

    one, many, other = run(1, 0), run(4, 0), run(4, 1)
    assert [indices.tolist() for indices, _ in many] == [batch.tolist() for batch in batches]
    assert all(a.equal(b) for (_, a), (_, b) in zip(one, many, strict=True))
    assert not one[0][1].equal(other[0][1])
    whole = decode(
        data.train_files[0], 32, torch.tensor([0.999999, 0.5, 0.0, 0.0])
    )  # all the area, square, top left
    assert whole.shape == (3, 32, 32)


@pytest.mark.parametrize("seed", range(20))
def test_any_draws_give_a_part_inside_the_image(tmp_path, seed):
    layouts.write_image(tmp_path / "a.jpg", seed=seed, size=(8 * (seed + 1), 160))
    assert decode(
        tmp_path / "a.jpg", 48, torch.rand(4, generator=torch.Generator().manual_seed(seed))
    ).shape == (3, 48, 48)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_named_from_whichever_thread_reads_it(tmp_path, suffix):
    files = [tmp_path / f"{k}.{suffix}" for k in range(4)]
    for k, file in enumerate(files):
        layouts.write_image(file, seed=k, size=(128, 128))
    cut(files[2], keep=0.5)
    with pytest.raises(
        ValueError,
        match=f"2.{suffix} must be a whole file of the data set, got an image that Pillow cannot decode",
    ):
        list(decoded_batches(files, [torch.arange(4)], 64, num_workers=2))


def test_pickles_of_this_python_are_read_in_every_protocol(tmp_path):
    folder = layouts.cifar10(tmp_path / "set")
    content = {b"labels": [1], b"data": np.full((1, 3072), 7, np.uint8)}
    for protocol in range(2, 5):
        (folder / "test_batch").write_bytes(pickle.dumps(content, protocol=protocol))
        assert read_images(folder, "cifar10").test_images.unique().tolist() == [7]


def test_idx_files_may_have_any_number_of_dimensions(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(layouts.idx_bytes(array))
    assert (read_idx(tmp_path / "a") == array).all()
