# LibTorch from the pinned wheel. Its own TorchConfig.cmake fails where no CUDA toolkit is, and a program
# that links it drags libtorch_cuda along; so the two libraries that the engine links are imported here.
# libtorch_cuda is loaded at run time when a CUDA device is asked for.
set(BAICHUAN_TORCH_DIR ${PROJECT_SOURCE_DIR}/.deps/torch-2.11.0/torch CACHE PATH "The `torch` folder of torch 2.11.0")
if(NOT EXISTS ${BAICHUAN_TORCH_DIR}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch is not at ${BAICHUAN_TORCH_DIR}: run tools/setup, or set BAICHUAN_TORCH_DIR.")
endif()

foreach(lib IN ITEMS c10 torch_cpu)
  add_library(torch::${lib} SHARED IMPORTED GLOBAL)
  set_target_properties(torch::${lib} PROPERTIES IMPORTED_LOCATION ${BAICHUAN_TORCH_DIR}/lib/lib${lib}.so)
endforeach()
# at::parallel_for is a header template that runs on one thread unless the file that uses it is compiled with
# OpenMP; the threads are those of the wheel's own libgomp.
add_library(torch::gomp SHARED IMPORTED GLOBAL)
set_target_properties(torch::gomp PROPERTIES IMPORTED_LOCATION ${BAICHUAN_TORCH_DIR}/lib/libgomp.so.1)
add_library(baichuan_torch INTERFACE)
target_include_directories(baichuan_torch SYSTEM INTERFACE ${BAICHUAN_TORCH_DIR}/include
                                                           ${BAICHUAN_TORCH_DIR}/include/torch/csrc/api/include)
target_compile_definitions(baichuan_torch INTERFACE USE_DISTRIBUTED USE_C10D_GLOO)
target_compile_options(baichuan_torch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
target_link_libraries(baichuan_torch INTERFACE torch::torch_cpu torch::c10 torch::gomp)
target_link_options(baichuan_torch INTERFACE -Wl,--allow-shlib-undefined)

# One precompiled torch/torch.h for every translation unit that uses LibTorch (45 s once, then 5 s a file).
add_library(baichuan_pch OBJECT ${PROJECT_SOURCE_DIR}/cmake/pch.cpp)
target_link_libraries(baichuan_pch PRIVATE baichuan_flags baichuan_torch)
target_precompile_headers(baichuan_pch PRIVATE <torch/torch.h>)
