#include "kernels/device.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/files.h"
#include "kernels/cuda_driver.h"
#include "tests/scratch_directory.h"

namespace baichuan {
namespace {

// A library that every test program has, and that is neither of the two.
constexpr const char* kSomeLibrary = BAICHUAN_SOME_LIBRARY;

CudaReport healthy_report() {
  CudaReport report;
  report.driver_found = true;
  report.driver_version = "580.65.06";
  report.driver_api = 13000;
  report.devices = {{0, "some GPU", 9, 0, std::int64_t{80} << 30}};
  return report;
}

template <class Thrown, class Body>
std::string message_of(const Body& body) {
  try {
    body();
  } catch (const Thrown& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(CudaProblem, IsEmptyWhereDriverAndDeviceFit) {
  EXPECT_EQ(cuda_problem(healthy_report()), "");
}

TEST(CudaProblem, NamesTheMissingDriver) {
  EXPECT_EQ(cuda_problem(probe_cuda_driver("libno_such_driver.so.1")).substr(0, 66),
            "expected an NVIDIA driver, 580 or newer; found none (libcuda.so.1 ");
}

TEST(CudaProblem, NamesTheDriverThatIsTooOld) {
  CudaReport report = healthy_report();
  report.driver_api = 12040;
  report.driver_version = "550.54.14";
  EXPECT_EQ(cuda_problem(report),
            "expected an NVIDIA driver for CUDA 13, 580 or newer; found one for CUDA 12.4 (driver 550.54.14); update "
            "it or use --device cpu");
}

TEST(CudaProblem, NamesTheMissingDeviceAndTheFailure) {
  CudaReport report = healthy_report();
  report.devices.clear();
  EXPECT_NE(cuda_problem(report).find("found a driver but no device"), std::string::npos);
  report.failure = "system not yet initialized";
  EXPECT_NE(cuda_problem(report).find("answers: system not yet initialized"), std::string::npos);
}

TEST(CudaProblem, ALibraryThatIsNoDriverIsAFailure) {
  EXPECT_NE(cuda_problem(probe_cuda_driver("libm.so.6")).find("it lacks cuInit"), std::string::npos);
}

TEST(SelectDevice, TakesTheCpuByName) {
  EXPECT_EQ(select_device("cpu"), at::Device(at::kCPU));
}

TEST(SelectDevice, RefusesOtherWords) {
  for (const char* text : {"gpu", "cuda1", "", "CPU"})
    EXPECT_EQ(message_of<UsageError>([&] { select_device(text); }),
              std::string("--device expects auto, cpu, cuda or cuda:N; found '") + text + "'");
  for (const char* text : {"cuda:", "cuda:x", "cuda:-1", "cuda:1x"})
    EXPECT_EQ(message_of<UsageError>([&] { select_device(text); }),
              std::string("--device expects auto, cpu, cuda or cuda:N; found '") + text + "'; N counts GPUs from 0");
}

TEST(SelectDevice, WithoutAGpuAutoIsTheCpuAndCudaAnError) {
  if (cuda_problem(probe_cuda()).empty()) GTEST_SKIP() << "this machine has a GPU; the test is about one without";
  EXPECT_EQ(select_device("auto"), at::Device(at::kCPU));
  EXPECT_NE(message_of<MachineError>([] { select_device("cuda"); }).find("--device cuda: expected "),
            std::string::npos);
}

TEST(CudaLibraries, AreNamedWhenMissingBrokenOrSomethingElse) {
  const ScratchDirectory scratch;
  write_file_atomically(scratch / "broken.so", "no library");
  const auto libtorch_error = [](const fs::path& path) {
    return message_of<MachineError>([&] { open_libtorch_cuda(path); });
  };
  EXPECT_NE(libtorch_error(scratch / "none.so").find("found none at " + (scratch / "none.so").string()),
            std::string::npos);
  EXPECT_NE(libtorch_error(scratch / "broken.so").find("found that they cannot be loaded ("), std::string::npos);
  EXPECT_EQ(libtorch_error(kSomeLibrary), std::string("expected ") + kSomeLibrary +
                                              " to bring CUDA; found that it registered no device; reinstall LibTorch "
                                              "with tools/setup");
  for (const fs::path& path : {scratch / "broken.so", fs::path(kSomeLibrary)})
    EXPECT_EQ(message_of<MachineError>([&] {
                open_cuda_kernels(path);
              }).find("expected " + path.string() + " to hold the CUDA kernels of this build; found: "),
              0u);
}

TEST(ParseDtype, KnowsTheThreeAndAuto) {
  EXPECT_EQ(parse_dtype("auto"), std::nullopt);
  EXPECT_EQ(parse_dtype("fp32"), at::kFloat);
  EXPECT_EQ(parse_dtype("bf16"), at::kBFloat16);
  EXPECT_EQ(parse_dtype("fp16"), at::kHalf);
  EXPECT_EQ(message_of<UsageError>([] { parse_dtype("float32"); }),
            "--dtype expects auto, fp32, bf16 or fp16; found 'float32'");
}

}  // namespace
}  // namespace baichuan
