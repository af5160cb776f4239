// The promise in full: 2 GB, whatever the model; here with the vocabulary of the 13B and 10 of its 40 layers.
#include "limited_memory.h"

namespace baichuan {
namespace {

TEST(ExportHuge, TakesTwoGigabytesAtMost) {
  expect_export_within(10, 64000, 2'000'000'000);
}

}  // namespace
}  // namespace baichuan
