# Everything here comes from the distribution (tools/setup names the packages); nothing is vendored.
find_package(PkgConfig REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(cxxopts 3 REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(cairo REQUIRED IMPORTED_TARGET cairo)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)

# Not through pkg-config: Debian 13's sentencepiece.pc asks for a package that nothing installs.
find_path(SENTENCEPIECE_INCLUDE sentencepiece_processor.h REQUIRED)
find_library(SENTENCEPIECE_LIBRARY sentencepiece REQUIRED)
add_library(sentencepiece::sentencepiece SHARED IMPORTED GLOBAL)
set_target_properties(sentencepiece::sentencepiece PROPERTIES IMPORTED_LOCATION ${SENTENCEPIECE_LIBRARY})
target_include_directories(sentencepiece::sentencepiece INTERFACE ${SENTENCEPIECE_INCLUDE})

if(BAICHUAN_TESTS)
  find_package(GTest REQUIRED)
endif()

# The torch wheel carries an fmt of its own, whose headers would shadow the distribution's in every file that uses
# LibTorch and then miss its library. A folder that holds fmt alone comes before the wheel's headers.
get_target_property(fmt_include fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
if(NOT fmt_include)
  set(fmt_include /usr/include)
endif()
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/before_torch)
file(CREATE_LINK ${fmt_include}/fmt ${PROJECT_BINARY_DIR}/before_torch/fmt SYMBOLIC)
target_include_directories(baichuan_flags SYSTEM BEFORE INTERFACE ${PROJECT_BINARY_DIR}/before_torch)
