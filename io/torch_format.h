// pytorch_model*.bin: what torch.save writes, a zip file with the pickle <archive>/data.pkl and one record
// <archive>/data/<key> a storage. Tensors are strided views of storages, which may be shared or larger than needed.
#pragma once

#include "io/input_file.h"
#include "io/stored_tensor.h"

namespace baichuan {

StoredFile parse_torch_file(const InputFile& file);

}  // namespace baichuan
