#include "io/torch_format.h"

#include <gmock/gmock.h>

#include <torch/torch.h>

#include "core/error.h"
#include "io/checkpoint_reader.h"
#include "io/crc32.h"
#include "io_test_files.h"

namespace baichuan {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kDamaged = "incomplete download or corrupt file?";

class TorchFormatTest : public IoTest {
 protected:
  static std::string refusal_of(const fs::path& file) {
    const std::string message = message_of([&] { CheckpointReader::open(file); });
    EXPECT_THAT(message, HasSubstr(file.string()));
    return message;
  }
  std::string refusal_of_bytes(std::string_view bytes) { return refusal_of(write("pytorch_model.bin", bytes)); }
  std::string refusal_of_pickle(std::string_view pickle) { return refusal_of_bytes(torch_bytes(pickle, "12345678")); }
};

// {'w': _rebuild_tensor_v2(('storage', FloatStorage, '0', 'cpu', elements), offset, shape, stride, False, {})}
std::string one_tensor_pickle(char elements,
                              char offset,
                              std::string_view shape,
                              std::string_view stride,
                              std::string_view storage_class = "FloatStorage",
                              std::string_view key = "0") {
  std::string pickle = "\x80\x02}U\x01w";
  pickle += "ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\n" + std::string(storage_class) + "\nU";
  pickle += static_cast<char>(key.size());
  pickle += std::string(key) + "U\x03" + "cpuK" + std::string(1, elements) + "tQK" + std::string(1, offset);
  pickle += std::string(shape) + std::string(stride) + "\x89}tRs.";
  return pickle;
}
constexpr std::string_view kOne = "K\x01\x85";
constexpr std::string_view kTwo = "K\x02\x85";

TEST_F(TorchFormatTest, ReadsEveryDtypeThatTorchSaves) {
  for (const char* file : {"dtypes.bin", "protocol4.bin"}) {
    const auto reader = CheckpointReader::open(committed(file));
    ASSERT_EQ(reader.tensors().size(), 11) << file;
    EXPECT_EQ(reader.tensors()[0].name, "float32");
    for (const char* name : {"float32", "bfloat16", "float16", "float64"})
      EXPECT_TRUE(torch::equal(reader.read(name).to(torch::kFloat64), eighths({3, 4}))) << name;
    EXPECT_EQ(reader.read("bfloat16").scalar_type(), torch::kBFloat16);
    EXPECT_TRUE(torch::equal(reader.read("int64"), torch::arange(-3, 3)));
    EXPECT_TRUE(torch::equal(reader.read("int32"), torch::arange(-3, 3, torch::kInt)));
    EXPECT_TRUE(torch::equal(reader.read("int8"), torch::arange(-3, 3, torch::kChar)));
    EXPECT_TRUE(torch::equal(reader.read("uint8"), torch::arange(250, 256, torch::kByte)));
    EXPECT_TRUE(torch::equal(reader.read("bool"), torch::tensor({true, false, true})));
    EXPECT_EQ(reader.read("scalar").item<float>(), 1.5F);
    EXPECT_EQ(reader.read("empty").sizes(), at::IntArrayRef({0, 4}));
  }
}

TEST_F(TorchFormatTest, HonoursOffsetsAndStridesOfSharedStorages) {
  const auto reader = CheckpointReader::open(committed("views.bin"));
  const auto whole = eighths({6, 4});
  const auto read = [&](const char* name) { return reader.read(name, torch::kFloat64); };
  EXPECT_TRUE(torch::equal(read("whole"), whole));
  EXPECT_TRUE(torch::equal(read("rows"), whole.slice(0, 2, 4)));
  EXPECT_TRUE(torch::equal(read("transposed"), whole.t()));
  EXPECT_TRUE(torch::equal(read("column"), whole.select(1, 1)));
  EXPECT_TRUE(torch::equal(read("every_second"), whole.slice(0, 0, 6, 2).slice(1, 1)));
  EXPECT_TRUE(torch::equal(read("parameter"), eighths({2, 3})));
  EXPECT_TRUE(torch::equal(read("transposed_f32"), eighths({5, 3}).t()));
  EXPECT_TRUE(torch::equal(reader.read_rows("transposed", 1, 2, torch::kFloat64), whole.t().slice(0, 1, 3)));
  EXPECT_TRUE(torch::equal(reader.read_rows("rows", 1, 1, torch::kFloat64), whole.slice(0, 3, 4)));
}

TEST_F(TorchFormatTest, ReadsElementsThatLieAskewInTheFile) {
  // A file name of another length moves the storage to an address that is no multiple of the element size.
  const auto values = torch::arange(6, torch::kFloat32).reshape({2, 3});
  const std::string storage(static_cast<const char*>(values.data_ptr()), values.nbytes());
  const std::string pickle = one_tensor_pickle(6, 0, "K\x03K\x02\x86", "K\x01K\x03\x86");
  for (const char* padding : {"", "1", "12", "123"}) {
    const fs::path file =
        write("pytorch_model.bin", zip_bytes({{"a/data.pkl", pickle}, {"a/x", padding}, {"a/data/0", storage}}));
    EXPECT_TRUE(torch::equal(CheckpointReader::open(file).read("w"), values.t())) << padding;
  }
}

TEST_F(TorchFormatTest, ReadsTheStateDictOfAModule) {
  const auto reader = CheckpointReader::open(committed("module.bin"));
  EXPECT_EQ(reader.tensors().size(), 4);
  EXPECT_TRUE(torch::equal(reader.read("0.weight", torch::kFloat64), eighths({2, 3})));
}

TEST_F(TorchFormatTest, LeavesPlainValuesBesideTheTensorsOut) {
  const auto reader = CheckpointReader::open(committed("extras.bin"));
  ASSERT_EQ(reader.tensors().size(), 1);
  EXPECT_EQ(reader.tensors()[0].name, "weight");
}

TEST_F(TorchFormatTest, NeverRunsWhatAPickleNames) {
  const std::string message = refusal_of(committed("hostile.bin"));
  EXPECT_THAT(message, AllOf(HasSubstr("'posix.system'"), HasSubstr("was not executed")));
}

TEST_F(TorchFormatTest, RefusesANameEvenWhenNothingCallsIt) {
  EXPECT_THAT(refusal_of_pickle("\x80\x02}cbuiltins\neval\n."), HasSubstr("'builtins.eval'"));
  EXPECT_THAT(refusal_of_pickle("\x80\x04}\x8c\x02os\x8c\x06system\x93."), HasSubstr("'os.system'"));
  EXPECT_THAT(refusal_of_pickle("\x80\x02}ctorch._utils\n_rebuild_tensor_v3\n."), HasSubstr("_rebuild_tensor_v3"));
}

TEST_F(TorchFormatTest, KeepsMessagesPlainWhenANameIsNot) {
  const std::string message = refusal_of_pickle("\x80\x02}c" + std::string(300, 'x') + "\x1b\xff\nb\n.");
  EXPECT_THAT(message, HasSubstr("..."));
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
}

TEST_F(TorchFormatTest, NamesTheFormatBeforeTorch16) {
  EXPECT_THAT(refusal_of(committed("before_1_6.bin")), AllOf(HasSubstr("torch 1.6"), HasSubstr("torch.load")));
}

TEST_F(TorchFormatTest, RefusesOtherFiles) {
  EXPECT_THAT(refusal_of_bytes("hello"), HasSubstr("a file written by torch.save"));
  EXPECT_THAT(refusal_of_bytes(""), HasSubstr("a file written by torch.save"));
  EXPECT_THAT(refusal_of_bytes("PK"), AllOf(HasSubstr("it has 2 bytes"), HasSubstr(kDamaged)));
}

TEST_F(TorchFormatTest, SaysThatACutFileIsCut) {
  const std::string whole = bytes_of(committed("dtypes.bin"));
  EXPECT_THAT(
      refusal_of_bytes(whole.substr(0, whole.size() / 2)),
      AllOf(HasSubstr("its table of contents, which is the end of a zip file, is missing"), HasSubstr(kDamaged)));
}

TEST_F(TorchFormatTest, RefusesAZipFileOfSomethingElse) {
  EXPECT_THAT(refusal_of_bytes(zip_bytes({{"notes.txt", "hello"}})), HasSubstr("expected a record data.pkl"));
}

TEST_F(TorchFormatTest, RefusesATorchScriptProgram) {
  EXPECT_THAT(refusal_of_bytes(zip_bytes({{"m/data.pkl", "\x80\x02}."}, {"m/constants.pkl", "\x80\x02)."}})),
              HasSubstr("TorchScript"));
}

TEST_F(TorchFormatTest, RefusesBigEndianTensors) {
  EXPECT_THAT(refusal_of_bytes(zip_bytes({{"m/data.pkl", "\x80\x02}."}, {"m/byteorder", "big"}})),
              HasSubstr("the file says 'big'"));
}

TEST_F(TorchFormatTest, RefusesCompressedRecords) {
  std::string bytes = torch_bytes("\x80\x02}.");
  bytes[bytes.find("PK\x01\x02") + 10] = 8;
  EXPECT_THAT(refusal_of_bytes(bytes), HasSubstr("record 'archive/data.pkl' is compressed or encrypted"));
}

TEST_F(TorchFormatTest, RefusesDamagedTablesOfContents) {
  const std::string good = torch_bytes("\x80\x02}.");
  const auto damage = [&](std::size_t at, char value) {
    std::string bytes = good;
    bytes[at] = value;
    return refusal_of_bytes(bytes);
  };
  EXPECT_THAT(damage(good.find("PK\x01\x02") + 1, 'x'), HasSubstr("entry 0 of its table of contents is damaged"));
  EXPECT_THAT(damage(good.find("PK\x01\x02") + 29, '\x7f'), HasSubstr("entry 0 of its table of contents is damaged"));
  EXPECT_THAT(damage(good.size() - 6 + 2, '\x7f'), HasSubstr("its table of contents lies outside of the file"));
  EXPECT_THAT(damage(good.find("PK\x01\x02") + 42 + 3, '\x7f'), HasSubstr("record 'archive/data.pkl' lies outside"));
  EXPECT_THAT(damage(good.find("PK\x01\x02") + 42, 1), HasSubstr("record 'archive/data.pkl' has no header at byte 1"));
  EXPECT_THAT(damage(28, '\x7f'), testing::Not(HasSubstr("something else")));  // the extra field of a local header
  EXPECT_THAT(refusal_of_bytes(zip_bytes({{"a/data.pkl", ""}, {"a/data.pkl", ""}})), HasSubstr("stands twice"));
}

TEST_F(TorchFormatTest, RefusesRecordsThatReachBeyondTheFile) {
  std::string bytes = torch_bytes("\x80\x02}.");
  for (const std::size_t field : {20, 24}) bytes[bytes.find("PK\x01\x02") + field + 2] = 1;  // 65,536 bytes more
  EXPECT_THAT(refusal_of_bytes(bytes), HasSubstr("lies outside of the file"));
}

TEST_F(TorchFormatTest, RefusesStateDictsInsideOfOthers) {
  EXPECT_THAT(refusal_of(committed("nested.bin")), HasSubstr("'model' is itself a dictionary of tensors"));
}

TEST_F(TorchFormatTest, RefusesWhatIsNotADictionaryOfNames) {
  EXPECT_THAT(refusal_of(committed("one_tensor.bin")), HasSubstr("expected a dictionary of tensors; found a tensor"));
  EXPECT_THAT(refusal_of(committed("number_as_name.bin")), HasSubstr("a tensor stands under an integer"));
}

TEST_F(TorchFormatTest, RefusesTensorsWhoseElementsOverlap) {
  EXPECT_THAT(refusal_of(committed("expanded.bin")), AllOf(HasSubstr("'weight'"), HasSubstr(".contiguous()")));
}

TEST_F(TorchFormatTest, RefusesStoragesThatAreNotThere) {
  EXPECT_THAT(refusal_of_pickle(one_tensor_pickle(2, 0, kTwo, kOne, "FloatStorage", "7")),
              AllOf(HasSubstr("tensor 'w' needs record 'archive/data/7'"), HasSubstr(kDamaged)));
}

TEST_F(TorchFormatTest, RefusesStoragesThatAreTooShort) {
  EXPECT_THAT(refusal_of_pickle(one_tensor_pickle(3, 0, kTwo, kOne)),
              HasSubstr("tensor 'w' needs a storage of 3 elements of float32; record 'archive/data/0' has 8 bytes"));
}

TEST_F(TorchFormatTest, RefusesTensorsThatReachBeyondTheirStorage) {
  EXPECT_THAT(refusal_of_pickle(one_tensor_pickle(2, 1, kTwo, kOne)),
              HasSubstr("tensor 'w' of shape [2], strides [1] and offset 1 reaches beyond its storage of 2 elements"));
  EXPECT_THAT(refusal_of_pickle(one_tensor_pickle(2, 0, kTwo, kTwo)), HasSubstr("reaches beyond"));
  EXPECT_THAT(refusal_of_pickle(one_tensor_pickle(2, 0, kTwo, "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85")),
              HasSubstr("reaches beyond"));
}

TEST_F(TorchFormatTest, RefusesDamagedPickles) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "it ends too early"},
      {"\x80\x02}", "it ends too early"},
      {"\x80\x01}.", "pickle protocol 1 is not one of 2 to 5"},
      {"\x80\x02.", "an operation finds no value"},
      {"\x80\x02t.", "an operation finds no mark"},
      {"\x80\x02h\x05.", "value 5 is used before it is remembered"},
      {"\x80\x02}cnothing", "it ends too early"},
      {"\x80\x02]K\x01s.", "an operation finds no value"},
      {"\x80\x02]K\x01K\x01s.", "what items are set in is a list instead of a dictionary"},
      {"\x80\x02}(K\x01u.", "a key has no value"},
      {"\x80\x02}K\x01"
       "a.",
       "what is appended to is a dictionary instead of a list"},
      {"\x80\x02K\x01)R.", "what is called is an integer instead of a name"},
      {"\x80\x02]}b.", "an object with a state is a list instead of a dictionary"},
      {"\x80\x02)Q.", "a persistent id is not that of a storage"},
      {"\x80\x02\x8a\x09" + std::string(9, 'x') + ".", "an integer has more than 64 bits"},
      {"\x80\x02"
       "ctorch\nFloatStorage\n)R.",
       "'torch.FloatStorage' is called"},
      {"\x80\x02"
       "ccollections\nOrderedDict\n(K\x01tR.",
       "an OrderedDict is made from values"},
      {"\x80\x02"
       "ctorch._utils\n_rebuild_tensor_v2\n)R.",
       "a tensor has 0 parts instead of 6"},
      {"\x80\x02"
       "ctorch._utils\n_rebuild_parameter\n)R.",
       "a parameter has 0 parts instead of 3"},
      {one_tensor_pickle(2, 0, kTwo, ")"), "shape and strides of a tensor differ in length"},
      {one_tensor_pickle(2, 0, "J\xff\xff\xff\xff\x85", kOne), "the shape of a tensor holds -1"},
      {one_tensor_pickle(2, 0, kTwo, kOne, "FloatStorage", std::string(65, '0')), "the key of a storage has 65 bytes"},
  };
  for (const auto& [pickle, expected] : cases) EXPECT_THAT(refusal_of_pickle(pickle), HasSubstr(expected));
}

TEST_F(TorchFormatTest, RefusesOperationsThatNoStateDictNeeds) {
  EXPECT_THAT(refusal_of_pickle("\x80\x02}(i__main__\nC\n."), HasSubstr("found opcode 0x69 at byte 4"));
}

TEST_F(TorchFormatTest, RefusesANameThatStandsTwice) {
  std::string pickle = one_tensor_pickle(2, 0, kTwo, kOne);
  pickle.pop_back();
  std::string again = pickle.substr(3);  // without the protocol and the dictionary
  EXPECT_THAT(refusal_of_pickle(pickle + again + "."), HasSubstr("tensor 'w' stands twice"));
}

TEST(Crc32, IsTheChecksumOfZipFiles) {
  const std::string_view text = "123456789";
  EXPECT_EQ(crc32(0, text.data(), text.size()), 0xcbf43926u);  // the check value of the polynomial
  EXPECT_EQ(crc32(crc32(0, text.data(), 4), text.data() + 4, 5), 0xcbf43926u);
}

}  // namespace
}  // namespace baichuan
