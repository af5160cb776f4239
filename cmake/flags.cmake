# One interface target carries the flags of our own code. Identical flags everywhere are the condition
# under which the precompiled header can be shared, hence -fPIC for programs too.
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()

add_library(baichuan_flags INTERFACE)
target_compile_features(baichuan_flags INTERFACE cxx_std_20)
target_include_directories(baichuan_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/generated)
target_compile_options(
  baichuan_flags
  INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fPIC
            -Wall
            -Wextra
            -Wshadow=local
            -Wno-missing-field-initializers
            -Winvalid-pch>)
# Since version 13 GCC sees copies out of bounds in std::vector<bool> as LibTorch's autograd headers use it.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 13)
  target_compile_options(baichuan_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-array-bounds>
                                                  $<$<COMPILE_LANGUAGE:CXX>:-Wno-stringop-overflow>)
endif()
if(BAICHUAN_WERROR)
  target_compile_options(baichuan_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
if(BAICHUAN_SANITIZE)
  target_compile_options(baichuan_flags INTERFACE -fsanitize=${BAICHUAN_SANITIZE} -fno-omit-frame-pointer -g)
  target_link_options(baichuan_flags INTERFACE -fsanitize=${BAICHUAN_SANITIZE})
endif()
