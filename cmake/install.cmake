# `cmake --install BUILD --prefix PREFIX` gives
#   bin/baichuan                     the program, as tools/baichuan starts it
#   lib/libbaichuan_*.so             the engine, and the CUDA plug-in where one was built
#   lib/baichuan/torch, …/nvidia     LibTorch, so that the prefix can be moved and the source tree removed
#   include/baichuan/                headers; lib/cmake/baichuan/ for find_package(baichuan)
#   share/baichuan/                  data/dataset_info.json and recipes
# All paths inside are relative to the files themselves.
if(NOT TARGET baichuan OR NOT TARGET baichuan_engine)
  return()
endif()
option(BAICHUAN_INSTALL_TORCH "Copy LibTorch into the installation; OFF: refer to BAICHUAN_TORCH_DIR where it lies" ON)
include(CMakePackageConfigHelpers)
set(CMAKE_INSTALL_LIBDIR lib)  # the program looks for the engine in ../lib, whatever the prefix

set(private_dir ${CMAKE_INSTALL_LIBDIR}/baichuan)
if(BAICHUAN_INSTALL_TORCH)
  set(engine_rpath "$ORIGIN:$ORIGIN/baichuan/torch/lib")
  set(installed_torch_dir "@PACKAGE_PREFIX_DIR@/${private_dir}/torch")
else()
  set(engine_rpath "$ORIGIN:${BAICHUAN_TORCH_DIR}/lib")
  set(installed_torch_dir ${BAICHUAN_TORCH_DIR})
endif()
set_target_properties(baichuan PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
set_target_properties(baichuan_engine PROPERTIES INSTALL_RPATH "${engine_rpath}" EXPORT_NAME engine)

install(TARGETS baichuan RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS baichuan_engine LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET baichuan_cuda)
  set_target_properties(baichuan_cuda PROPERTIES INSTALL_RPATH "${engine_rpath}")
  install(TARGETS baichuan_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()

# The headers of the engine; those of the program (app/) stay inside.
foreach(folder IN ITEMS core data kernels io model lora distributed infer train)
  install(
    DIRECTORY ${PROJECT_SOURCE_DIR}/${folder}
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/baichuan
    FILES_MATCHING
    PATTERN "*.h")
endforeach()

if(BAICHUAN_INSTALL_TORCH)
  # What libtorch_cpu needs; the CUDA libraries only where CUDA code was built.
  set(torch_libraries libc10.so libtorch_cpu.so libgomp.so.1)
  if(BAICHUAN_CUDA_ENABLED)
    list(APPEND torch_libraries libc10_cuda.so libtorch_cuda.so libtorch_cuda_linalg.so libtorch_nvshmem.so
         libcaffe2_nvrtc.so)
  endif()
  foreach(library IN LISTS torch_libraries)
    install(FILES ${BAICHUAN_TORCH_DIR}/lib/${library} DESTINATION ${private_dir}/torch/lib OPTIONAL)
  endforeach()
  install(DIRECTORY ${BAICHUAN_TORCH_DIR}/include DESTINATION ${private_dir}/torch)
  # libtorch_cpu looks for these at ../../nvidia from its own folder.
  install(
    DIRECTORY ${BAICHUAN_TORCH_DIR}/../nvidia
    DESTINATION ${private_dir}
    FILES_MATCHING
    PATTERN "*.so*")
  file(GLOB licences ${BAICHUAN_TORCH_DIR}/../*.dist-info/licenses)
  foreach(folder IN LISTS licences)
    cmake_path(GET folder PARENT_PATH wheel)
    cmake_path(GET wheel FILENAME wheel)
    install(DIRECTORY ${folder}/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/licences/${wheel})
  endforeach()
endif()

install(
  DIRECTORY ${PROJECT_SOURCE_DIR}/data ${PROJECT_SOURCE_DIR}/configs
  DESTINATION ${CMAKE_INSTALL_DATADIR}/baichuan
  FILES_MATCHING
  PATTERN "*.json")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/THIRD_PARTY_NOTICES.md
        DESTINATION ${CMAKE_INSTALL_DOCDIR})

string(REPLACE "@PACKAGE_PREFIX_DIR@" "\${baichuan_PREFIX}" baichuan_config_torch_dir "${installed_torch_dir}")
configure_package_config_file(cmake/baichuanConfig.cmake.in ${PROJECT_BINARY_DIR}/baichuanConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/baichuan NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/baichuanConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/baichuanConfig.cmake ${PROJECT_BINARY_DIR}/baichuanConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/baichuan)
