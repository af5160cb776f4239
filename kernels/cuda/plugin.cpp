// libbaichuan_cuda.so: tensors to pointers, on the tensors' device and the current stream.
#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda_plugin.h"

namespace baichuan {

namespace {

using cpu::Element;

Element element_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return Element::kFloat32;
    case at::kBFloat16:
      return Element::kBFloat16;
    default:
      TORCH_INTERNAL_ASSERT(tensor.scalar_type() == at::kHalf);
      return Element::kFloat16;
  }
}

// Makes the tensor's device current and checks the launches that were made meanwhile.
class Launch {
 public:
  explicit Launch(const at::Tensor& tensor)
      : guard_(tensor.device()), stream_(c10::cuda::getCurrentCUDAStream(tensor.device().index()).stream()) {}
  cudaStream_t stream() const { return stream_; }
  void check() const { C10_CUDA_KERNEL_LAUNCH_CHECK(); }

 private:
  c10::cuda::CUDAGuard guard_;
  cudaStream_t stream_;
};

void rms_norm(const at::Tensor& y, const at::Tensor& rstd, const at::Tensor& x, const at::Tensor& weight, double eps) {
  const Launch launch(x);
  const std::int64_t columns = x.size(-1);
  cuda::rms_norm(element_of(x), y.mutable_data_ptr(), rstd.mutable_data_ptr<float>(), x.const_data_ptr(),
                 weight.const_data_ptr(), x.numel() / columns, columns, static_cast<float>(eps), launch.stream());
  launch.check();
}

void rms_norm_backward(const at::Tensor& dx,
                       const at::Tensor& dweight,
                       const at::Tensor& dy,
                       const at::Tensor& x,
                       const at::Tensor& weight,
                       const at::Tensor& rstd) {
  const Launch launch(x);
  const std::int64_t columns = x.size(-1);
  const std::int64_t rows = x.numel() / columns;
  if (dx.defined())
    cuda::rms_norm_backward_x(element_of(x), dx.mutable_data_ptr(), dy.const_data_ptr(), x.const_data_ptr(),
                              weight.const_data_ptr(), rstd.const_data_ptr<float>(), rows, columns, launch.stream());
  if (dweight.defined()) {
    const at::Tensor partial = at::empty({cuda::weight_slabs(rows), columns}, dweight.options());
    cuda::rms_norm_backward_weight(element_of(x), dweight.mutable_data_ptr<float>(), partial.mutable_data_ptr<float>(),
                                   dy.const_data_ptr(), x.const_data_ptr(), rstd.const_data_ptr<float>(), rows, columns,
                                   launch.stream());
  }
  launch.check();
}

void swiglu(const at::Tensor& y, const at::Tensor& gate, const at::Tensor& up) {
  const Launch launch(y);
  cuda::swiglu(element_of(y), y.mutable_data_ptr(), gate.const_data_ptr(), up.const_data_ptr(), y.numel(),
               launch.stream());
  launch.check();
}

void swiglu_backward(const at::Tensor& dgate,
                     const at::Tensor& dup,
                     const at::Tensor& dy,
                     const at::Tensor& gate,
                     const at::Tensor& up) {
  const Launch launch(dy);
  cuda::swiglu_backward(element_of(dy), dgate.mutable_data_ptr(), dup.mutable_data_ptr(), dy.const_data_ptr(),
                        gate.const_data_ptr(), up.const_data_ptr(), dy.numel(), launch.stream());
  launch.check();
}

void dropout(const at::Tensor& y,
             const at::Tensor& x,
             const at::Tensor& sample_ids,
             const cpu::DropoutRow& shared,
             bool accumulate) {
  const Launch launch(x);
  cuda::dropout(element_of(x), y.mutable_data_ptr(), x.const_data_ptr(), sample_ids.const_data_ptr<std::int64_t>(),
                x.size(0), x.size(1), x.size(2), shared, accumulate, launch.stream());
  launch.check();
}

void cross_entropy(
    const at::Tensor& losses, const at::Tensor& logits, const at::Tensor& labels, double scale, bool write_gradient) {
  const Launch launch(logits);
  cuda::cross_entropy(element_of(logits), losses.mutable_data_ptr<float>(), logits.mutable_data_ptr(),
                      labels.const_data_ptr<std::int64_t>(), logits.size(0), logits.size(1), static_cast<float>(scale),
                      write_gradient, launch.stream());
  launch.check();
}

constexpr CudaKernels kKernels = {&rms_norm, &rms_norm_backward, &swiglu, &swiglu_backward, &dropout, &cross_entropy};

}  // namespace

}  // namespace baichuan

extern "C" __attribute__((visibility("default"))) const baichuan::CudaKernels* baichuan_cuda_kernels_v1() {
  return &baichuan::kKernels;
}
