#include "io/safetensors_format.h"

#include <gmock/gmock.h>

#include <torch/torch.h>

#include "core/error.h"
#include "io/checkpoint_reader.h"
#include "io_test_files.h"

namespace baichuan {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class SafetensorsFormatTest : public IoTest {
 protected:
  std::string refusal(std::string_view header, std::string_view data = "") {
    return refusal_of_bytes(safetensors_bytes(header, data));
  }
  std::string refusal_of_bytes(std::string_view bytes) {
    const fs::path file = write("model.safetensors", bytes);
    const std::string message = message_of([&] { CheckpointReader::open(file); });
    EXPECT_THAT(message, testing::StartsWith(message.empty() ? "something" : file.string()));
    return message;
  }
};

constexpr std::string_view kEightBytes = "12345678";
constexpr const char* kDamaged = "incomplete download or corrupt file?";

TEST_F(SafetensorsFormatTest, ReadsWhatTheReferenceImplementationWrote) {
  const auto reader = CheckpointReader::open(committed("dtypes.safetensors"));
  EXPECT_EQ(reader.tensors().size(), 11);
  EXPECT_EQ(reader.metadata().at("made_by"), "make_io_fixtures");
  for (const char* name : {"float32", "bfloat16", "float16", "float64"})
    EXPECT_TRUE(torch::equal(reader.read(name).to(torch::kFloat64), eighths({3, 4}))) << name;
  EXPECT_TRUE(torch::equal(reader.read("int64"), torch::arange(-3, 3)));
  EXPECT_TRUE(torch::equal(reader.read("bool"), torch::tensor({true, false, true})));
  EXPECT_EQ(reader.read("scalar").item<float>(), 1.5F);
  EXPECT_EQ(reader.read("empty").sizes(), at::IntArrayRef({0, 4}));
}

TEST_F(SafetensorsFormatTest, RefusesAFileShorterThanItsLengthField) {
  EXPECT_THAT(refusal_of_bytes("1234"), AllOf(HasSubstr("it has 4 bytes"), HasSubstr(kDamaged)));
}

TEST_F(SafetensorsFormatTest, RefusesAHeaderThatIsLongerThanTheFormatAllows) {
  EXPECT_THAT(refusal_of_bytes(std::string(8, '\xff') + "{}"), HasSubstr("its length field says 18446744073709551615"));
}

TEST_F(SafetensorsFormatTest, RefusesAHeaderThatDoesNotFitIntoTheFile) {
  EXPECT_THAT(refusal_of_bytes(std::string("\x64\0\0\0\0\0\0\0{}", 10)),
              AllOf(HasSubstr("a safetensors header of 100 bytes; the file has 10 bytes"), HasSubstr(kDamaged)));
}

TEST_F(SafetensorsFormatTest, RefusesAHeaderThatIsNotJson) {
  EXPECT_THAT(refusal("{\"a\":"), HasSubstr("header in JSON"));
}

TEST_F(SafetensorsFormatTest, RefusesAHeaderThatIsNotAnObject) {
  EXPECT_THAT(refusal("[1]"), HasSubstr("a JSON object as safetensors header; found array"));
}

TEST_F(SafetensorsFormatTest, RefusesANameThatStandsTwice) {
  const char* entry = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  EXPECT_THAT(refusal(fmt::format(R"({{"a":{},"a":{}}})", entry, entry), "1234"), HasSubstr("'a' stands twice"));
}

TEST_F(SafetensorsFormatTest, RefusesMissingFields) {
  EXPECT_THAT(refusal(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", "1234"), HasSubstr("'a': expected a dtype"));
  EXPECT_THAT(refusal(R"({"a":3})", "1234"), HasSubstr("'a': expected a dtype"));
  EXPECT_THAT(refusal(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", "1234"), HasSubstr("'a': expected a shape"));
  EXPECT_THAT(refusal(R"({"a":{"dtype":"F32","shape":[1]}})", "1234"), HasSubstr("'a': expected data_offsets"));
}

TEST_F(SafetensorsFormatTest, RefusesADtypeThatItCannotRead) {
  EXPECT_THAT(refusal(R"({"a":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}})", "1234"),
              HasSubstr("'a' has dtype 'F4', which cannot be read"));
}

TEST_F(SafetensorsFormatTest, RefusesShapesThatAreNotWholeNumbersOrOverflow) {
  for (const char* shape : {"[-1]", "[1.5]", "3", "[\"1\"]", "[4611686018427387904,4]", "[99999999999999999999]"})
    EXPECT_THAT(refusal(fmt::format(R"({{"a":{{"dtype":"F32","shape":{},"data_offsets":[0,4]}}}})", shape), "1234"),
                HasSubstr("expected a shape of whole numbers"))
        << shape;
}

TEST_F(SafetensorsFormatTest, RefusesOffsetsThatAreNoRange) {
  for (const char* offsets : {"[4,0]", "[0]", "[0,4,8]", "[-4,0]", "\"0\""})
    EXPECT_THAT(refusal(fmt::format(R"({{"a":{{"dtype":"F32","shape":[1],"data_offsets":{}}}}})", offsets), "1234"),
                HasSubstr("expected data_offsets [begin, end]"))
        << offsets;
}

TEST_F(SafetensorsFormatTest, RefusesBytesThatDoNotFitTheShape) {
  EXPECT_THAT(refusal(R"({"a":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,4]}})", "1234"),
              HasSubstr("'a' of shape [2, 2] and dtype bfloat16 needs 8 bytes; data_offsets give it 4"));
}

TEST_F(SafetensorsFormatTest, RefusesTensorsThatOverlap) {
  EXPECT_THAT(refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                          "b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
                      "123456"),
              HasSubstr("tensors 'a' and 'b' overlap at byte 2"));
}

TEST_F(SafetensorsFormatTest, RefusesHolesBetweenTensors) {
  EXPECT_THAT(refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", kEightBytes),
              HasSubstr("bytes 0 to 4 of the data, before tensor 'a', belong to no tensor"));
}

TEST_F(SafetensorsFormatTest, NamesTheTensorAtWhichAFileIsCutOff) {
  EXPECT_THAT(
      refusal(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "1234567"),
      AllOf(HasSubstr("the header describes 8 bytes of tensors, of which tensor 'a' is the last; the file has 7"),
            HasSubstr(kDamaged)));
}

TEST_F(SafetensorsFormatTest, RefusesBytesAfterTheLastTensor) {
  EXPECT_THAT(refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", kEightBytes),
              HasSubstr("the header describes 4 bytes of tensors; the file has 8"));
}

TEST_F(SafetensorsFormatTest, RefusesMetadataThatIsNotText) {
  EXPECT_THAT(refusal(R"({"__metadata__":{"step":3}})"), HasSubstr("a text as __metadata__ 'step'; found number"));
  EXPECT_THAT(refusal(R"({"__metadata__":[]})"), HasSubstr("__metadata__ to be an object of texts; found array"));
}

TEST_F(SafetensorsFormatTest, RefusesAFileWithoutTensors) {
  EXPECT_THAT(refusal("{}"), HasSubstr("found no tensor"));
}

TEST_F(SafetensorsFormatTest, SaysWhatAGitLfsPointerIs) {
  EXPECT_THAT(refusal_of_bytes("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
              AllOf(HasSubstr("Git LFS pointer"), HasSubstr("git lfs pull")));
}

}  // namespace
}  // namespace baichuan
