#pragma once

namespace baichuan {

inline constexpr const char* kVersion = BAICHUAN_VERSION;

}  // namespace baichuan
